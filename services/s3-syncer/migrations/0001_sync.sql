-- Where every medium's files are, as told by image.events and by this service's own work.
CREATE TABLE media (
    media_id    uuid    PRIMARY KEY,
    -- of `files`; 0 until the first picture is processed
    revision    integer NOT NULL DEFAULT 0 CHECK (revision >= 0),
    entity_type text,
    entity_id   text,
    files       jsonb   NOT NULL DEFAULT '[]',
    size_bytes  bigint  NOT NULL DEFAULT 0,
    on_disk     boolean NOT NULL DEFAULT false,
    in_bucket   boolean NOT NULL DEFAULT false,
    -- who works on its files now; others wait until it lets go or the time has passed
    held_by     uuid,
    held_until  timestamptz
);

CREATE INDEX media_entity ON media (entity_type, entity_id, media_id);
CREATE INDEX media_held ON media (held_by) WHERE held_by IS NOT NULL;

-- One row per job: a parent, a child of one, or a job that is too small to have children.
CREATE TABLE jobs (
    job_id           uuid    PRIMARY KEY,
    parent_job_id    uuid    REFERENCES jobs ON DELETE CASCADE,
    is_parent        boolean NOT NULL,
    batch_index      integer,
    batch_size       integer,
    -- grows with every change, so that a reader knows the newer of two states
    version          integer NOT NULL DEFAULT 1,
    operation        text    NOT NULL,
    status           text    NOT NULL,
    delete_source    boolean NOT NULL,
    rename_prefix    jsonb,
    total_files      integer NOT NULL,
    processed_files  integer NOT NULL DEFAULT 0,
    failed_files     integer NOT NULL DEFAULT 0,
    total_bytes      bigint  NOT NULL DEFAULT 0,
    moved_bytes      bigint  NOT NULL DEFAULT 0,
    error            text,
    retry_of         uuid,
    requested_by     uuid    NOT NULL,
    cancel_requested boolean NOT NULL DEFAULT false,
    -- parents: how far the selection is split, and how many children ended
    planned          boolean NOT NULL,
    plan_cursor      uuid,
    planned_files    integer NOT NULL DEFAULT 0,
    children         integer NOT NULL DEFAULT 0,
    children_ended   integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK (processed_files >= 0 AND failed_files >= 0 AND processed_files + failed_files <= total_files),
    CHECK (children_ended <= children)
);

CREATE INDEX jobs_parent ON jobs (parent_job_id) WHERE parent_job_id IS NOT NULL;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL AND parent_job_id IS NULL;

-- The files of a child, or of a job without children: one row per medium.
CREATE TABLE items (
    job_id      uuid   NOT NULL REFERENCES jobs ON DELETE CASCADE,
    media_id    uuid   NOT NULL,
    status      text   NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'skipped', 'failed')),
    bytes_moved bigint NOT NULL DEFAULT 0,
    code        text,
    detail      text,
    finished_at timestamptz,
    PRIMARY KEY (job_id, media_id)
);

-- What a batch asks: which of its files are left.
CREATE INDEX items_pending ON items (job_id) WHERE status = 'pending';

-- Files that the record names no longer and that may still lie there: written with the record's change, worked off right
-- after it. While a medium has any, its hold does not run out.
CREATE TABLE removals (
    job_id   uuid NOT NULL,
    media_id uuid NOT NULL,
    store    text NOT NULL CHECK (store IN ('disk', 's3')),
    key      text NOT NULL,
    PRIMARY KEY (job_id, media_id, store, key)
);

CREATE INDEX removals_media ON removals (media_id);

-- local_first: media that wait for their copy in the bucket.
CREATE TABLE bucket_copies (
    media_id     uuid        PRIMARY KEY,
    revision     integer     NOT NULL,
    requested_at timestamptz NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- set after the last attempt; a job of uploads takes it up again
    given_up_at  timestamptz,
    code         text,
    detail       text
);

CREATE INDEX bucket_copies_due ON bucket_copies (due_at) WHERE given_up_at IS NULL;
