-- Bulk uploads: a parent, and what became of each file that came with it.

CREATE TABLE bulk_jobs (
    id         uuid        PRIMARY KEY,
    uploader   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE bulk_items (
    bulk_id      uuid    NOT NULL REFERENCES bulk_jobs (id) ON DELETE CASCADE,
    -- in the order of arrival
    position     integer NOT NULL,
    filename     text    NOT NULL,
    -- null for a file that was refused; jobs go before their parent, so nothing is referenced
    job_id       uuid,
    media_id     uuid,
    -- why it was refused, or why its job had failed that is gone
    error_code   text,
    error_detail text,
    -- how the job had ended that is gone
    ended_as     text    CHECK (ended_as IN ('completed', 'failed')),
    PRIMARY KEY (bulk_id, position)
);

CREATE INDEX bulk_items_of_job ON bulk_items (job_id) WHERE job_id IS NOT NULL;
