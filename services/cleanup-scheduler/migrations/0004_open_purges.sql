-- What is on its way out, of all runs.
CREATE INDEX purges_open ON purges (sent_at) WHERE taken_at IS NULL OR completed < begun;
