-- Lists of files that were too long for one message; of a run, or of a check whose asker fetches them at once.
CREATE TABLE report_parts (
    report_id uuid        NOT NULL,
    part      integer     NOT NULL,
    run_id    uuid        REFERENCES runs ON DELETE CASCADE,
    entries   jsonb       NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (report_id, part)
);

CREATE INDEX report_parts_of_run ON report_parts (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX report_parts_of_checks ON report_parts (made_at) WHERE run_id IS NULL;
