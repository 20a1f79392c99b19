-- A selection whose job never begins is forgotten after a while.
ALTER TABLE selections ADD COLUMN selected_at timestamptz NOT NULL DEFAULT statement_timestamp();
CREATE INDEX selections_by_time ON selections USING brin (selected_at);
