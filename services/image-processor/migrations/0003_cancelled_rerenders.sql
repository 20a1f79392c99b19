-- Selections that were cancelled: what is queued of them to be rendered anew is not begun. Rows stay for longer than commands
-- wait and come again.
CREATE TABLE cancelled_rerenders (
    parent_job_id uuid        PRIMARY KEY,
    known_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX cancelled_rerenders_known ON cancelled_rerenders (known_at);
