-- Uploads that are announced here and sent to the bucket by their sender, until they are jobs like any other.

CREATE TABLE direct_uploads (
    -- also the job's id, and the end of the object's key
    id                uuid        PRIMARY KEY,
    media_id          uuid        NOT NULL,
    uploader          uuid        NOT NULL,
    filename          text        NOT NULL,
    mime_type         text        NOT NULL,
    size_bytes        bigint      NOT NULL,
    -- null: the sender named none
    sha256            text,
    entity_type       text        NOT NULL,
    entity_id         text,
    alt               text,
    title             text,
    storage_strategy  text        NOT NULL,
    -- received: its job is in `jobs` from here on
    status            text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'received', 'failed')),
    error_code        text,
    error_detail      text,
    -- W3C trace context of the announcement
    traceparent       text,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- until when the file may be sent
    expires_at        timestamptz NOT NULL,
    finished_at       timestamptz,
    -- null once it is finished: the object still has to be taken out of the bucket
    object_removed_at timestamptz
);

CREATE INDEX direct_uploads_waiting ON direct_uploads (expires_at) WHERE status = 'waiting';
CREATE INDEX direct_uploads_to_remove ON direct_uploads (finished_at)
    WHERE status <> 'waiting' AND object_removed_at IS NULL;
CREATE INDEX direct_uploads_finished ON direct_uploads (finished_at) WHERE object_removed_at IS NOT NULL;
-- what lists of jobs show beside the jobs
CREATE INDEX direct_uploads_listed ON direct_uploads (status, id DESC) WHERE status <> 'received';
