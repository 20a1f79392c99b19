-- Storage sync: the jobs of s3-syncer as it tells of them, and where they leave the media.

CREATE TABLE sync_jobs (
    -- UUIDv7: ordered by time, so lists page by id
    id              uuid        PRIMARY KEY,
    -- a child's fact may be handled before any of its parent's: nothing is referenced
    parent_job_id   uuid,
    is_parent       boolean     NOT NULL DEFAULT false,
    batch_index     integer,
    batch_size      integer,
    -- of the newest fact; 0 until s3-syncer has told of the job
    version         integer     NOT NULL DEFAULT 0,
    operation       text        NOT NULL,
    status          text        NOT NULL DEFAULT 'waiting'
                    CHECK (status IN ('waiting', 'active', 'completed', 'failed', 'cancelled')),
    -- of a parent: as it was told; callers read the sums of its children
    total_files     integer     NOT NULL DEFAULT 0,
    processed_files integer     NOT NULL DEFAULT 0,
    failed_files    integer     NOT NULL DEFAULT 0,
    total_bytes     bigint      NOT NULL DEFAULT 0,
    moved_bytes     bigint      NOT NULL DEFAULT 0,
    error           text,
    retry_of        uuid,
    -- whose account; jobs outlive accounts, so nothing is referenced
    requested_by    uuid        NOT NULL,
    -- what was asked for, so that a retry can ask for the same
    delete_source   boolean     NOT NULL DEFAULT false,
    rename_from     text,
    rename_to       text,
    profile         text        NOT NULL DEFAULT 'default' CHECK (profile IN ('default', 'large')),
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at      timestamptz,
    finished_at     timestamptz,
    -- what the requester was last told over the WebSocket
    told_status     text,
    told_at         timestamptz
)
WITH (fillfactor = 80);

CREATE INDEX sync_jobs_roots ON sync_jobs (id DESC) WHERE parent_job_id IS NULL;
CREATE INDEX sync_jobs_children ON sync_jobs (parent_job_id) WHERE parent_job_id IS NOT NULL;
CREATE INDEX sync_jobs_finished ON sync_jobs (finished_at) WHERE parent_job_id IS NULL AND finished_at IS NOT NULL;

CREATE TABLE sync_results (
    id          bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- the parent, or the job itself if it has none: results are bounded per job that somebody asked for
    root_job_id uuid    NOT NULL,
    job_id      uuid    NOT NULL,
    media_id    uuid    NOT NULL,
    status      text    NOT NULL CHECK (status IN ('done', 'skipped', 'failed')),
    bytes_moved bigint  NOT NULL,
    code        text,
    detail      text,
    UNIQUE (root_job_id, media_id)
);

CREATE INDEX sync_results_in_order ON sync_results (root_job_id, (status = 'failed') DESC, id DESC);

-- The revision of which s3-syncer has told where its files are, and when that was so. What image-processor says of the
-- same revision is older, whichever is handled first.
ALTER TABLE media ADD COLUMN placed_revision integer, ADD COLUMN placed_at timestamptz;

-- The progress of a storage job concerns no single medium.
ALTER TABLE notices ALTER COLUMN media_id DROP NOT NULL;
