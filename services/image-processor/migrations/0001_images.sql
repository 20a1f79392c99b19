-- What this service rendered: one row per revision of a medium.

CREATE TABLE images (
    media_id       uuid        NOT NULL,
    revision       integer     NOT NULL CHECK (revision >= 1),
    job_id         uuid        NOT NULL,
    status         text        NOT NULL CHECK (status IN ('processed', 'failed')),
    -- the files as published in image.processed, original first; empty for a failed picture
    files          jsonb       NOT NULL DEFAULT '[]',
    on_disk        boolean     NOT NULL DEFAULT false,
    in_bucket      boolean     NOT NULL DEFAULT false,
    width_px       integer,
    height_px      integer,
    error_code     text,
    error_detail   text,
    attempts       integer     NOT NULL,
    render_seconds double precision,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (media_id, revision)
);

-- Staged uploads whose outcome is committed but whose staging file may still lie there: removed after the commit, and by
-- a sweep if the process died in between.
CREATE TABLE staging_removals (
    staging_key text PRIMARY KEY,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
