-- What this service rendered: one row per revision of a medium.

CREATE TABLE images (
    media_id       uuid        NOT NULL,
    revision       integer     NOT NULL CHECK (revision >= 1),
    job_id         uuid        NOT NULL,
    -- the files as published in image.processed, original first
    files          jsonb       NOT NULL,
    on_disk        boolean     NOT NULL,
    in_bucket      boolean     NOT NULL,
    width_px       integer     NOT NULL,
    height_px      integer     NOT NULL,
    attempt        integer     NOT NULL,
    render_seconds double precision NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (media_id, revision)
);

-- Staged uploads whose outcome is committed but whose staging file may still lie there: removed right after the commit,
-- and by a sweep if the process died in between.
CREATE TABLE staging_removals (
    staging_key text PRIMARY KEY,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
