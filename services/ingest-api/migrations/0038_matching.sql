-- Calls that act on all media that match the filters of a list.

ALTER TABLE bulk_jobs
    -- the filters, as callers write them; `created_at` is the moment at which they are asked
    ADD COLUMN matching jsonb;

-- Storage jobs whose media are handed over to s3-syncer, page by page; a row goes with the command that starts its job.
CREATE TABLE sync_selections (
    job_id     uuid        PRIMARY KEY REFERENCES sync_jobs (id) ON DELETE CASCADE,
    matching   jsonb       NOT NULL,
    matched_at timestamptz NOT NULL,
    -- the last medium that was handed over, or looked at
    cursor     uuid,
    -- how many were
    selected   integer     NOT NULL DEFAULT 0,
    -- what starts the job
    command    jsonb       NOT NULL
);
