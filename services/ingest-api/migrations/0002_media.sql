-- The catalogue of media, the jobs that process them, and what their uploaders are told.

CREATE TABLE media (
    -- UUIDv7: ordered by time, so lists page by id
    id               uuid        PRIMARY KEY,
    -- counts the files that this medium had; object keys carry it, and outcomes of an older one change nothing
    revision         integer     NOT NULL DEFAULT 1 CHECK (revision >= 1),
    status           text        NOT NULL DEFAULT 'processing' CHECK (status IN ('processing', 'completed', 'failed')),
    filename         text        NOT NULL,
    mime_type        text        NOT NULL,
    size_bytes       bigint      NOT NULL,
    sha256           text        NOT NULL,
    width_px         integer,
    height_px        integer,
    entity_type      text        NOT NULL,
    entity_id        text,
    -- whose account; media outlive accounts, so nothing is referenced
    uploaded_by      uuid        NOT NULL,
    alt              text,
    title            text,
    private          boolean     NOT NULL DEFAULT false,
    storage_strategy text        NOT NULL,
    storage_status   text        NOT NULL DEFAULT 'pending'
                     CHECK (storage_status IN ('local_only', 's3_only', 'synced', 'pending', 'missing')),
    on_disk          boolean     NOT NULL DEFAULT false,
    in_bucket        boolean     NOT NULL DEFAULT false,
    -- the stored files of this revision, as image.processed tells of them
    original         jsonb,
    variants         jsonb       NOT NULL DEFAULT '[]',
    placeholder      text,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at       timestamptz
);

CREATE INDEX media_of_entity ON media (entity_type, entity_id, id DESC);
CREATE INDEX media_unfinished ON media (status, id DESC) WHERE status <> 'completed';
CREATE INDEX media_deleted ON media (id DESC) WHERE deleted_at IS NOT NULL;

CREATE TABLE jobs (
    id              uuid        PRIMARY KEY,
    media_id        uuid        NOT NULL REFERENCES media (id) ON DELETE CASCADE,
    revision        integer     NOT NULL,
    uploader        uuid        NOT NULL,
    entity_type     text        NOT NULL,
    status          text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'active', 'completed', 'failed')),
    progress        smallint    NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    attempts        integer     NOT NULL DEFAULT 0,
    error_code      text,
    error_detail    text,
    -- what a completed job answers: measures and variants; addresses are made when it is read
    outcome         jsonb,
    -- where the upload lies until it is processed; null once the file is known to be gone
    staging_key     text,
    -- W3C trace context of the upload
    traceparent     text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_attempt_at timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz
)
-- room for the progress of a job on the page of its row, so that no index is touched by it
WITH (fillfactor = 80);

CREATE INDEX jobs_of_medium ON jobs (media_id);
CREATE INDEX jobs_by_status ON jobs (status, id DESC);
CREATE INDEX jobs_finished ON jobs (status, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_staged ON jobs (staging_key) WHERE staging_key IS NOT NULL;

-- What a caller's Idempotency-Key stands for.
CREATE TABLE idempotency_keys (
    user_id    uuid        NOT NULL,
    key        text        NOT NULL,
    sha256     text        NOT NULL,
    job_id     uuid        NOT NULL,
    media_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);

-- The last number given to a notice of each uploader. Its row is locked until the notice commits, so the notices of one
-- uploader become visible in the order of their numbers: without that, reading on after number n could skip n - 1.
CREATE TABLE notice_streams (
    uploader uuid   PRIMARY KEY,
    last_id  bigint NOT NULL
)
WITH (fillfactor = 50);

-- What was told, or is to be told, over WebSockets.
CREATE TABLE notices (
    uploader    uuid        NOT NULL,
    id          bigint      NOT NULL,
    type        text        NOT NULL,
    job_id      uuid        NOT NULL,
    media_id    uuid        NOT NULL,
    body        jsonb       NOT NULL,
    traceparent text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (uploader, id)
);

CREATE INDEX notices_by_time ON notices (created_at);
