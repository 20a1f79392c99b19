-- Originals that were uploaded to events, or are on their way into the bucket. No name is given twice, nor is a content.
CREATE TABLE photo_uploads (
    id         uuid        PRIMARY KEY,
    -- rows of deleted events go with what else is known of their photos
    event_id   uuid        NOT NULL REFERENCES photo_events,
    image_key  text        NOT NULL,
    -- the file name without its ending: what a preview and its original have in common
    stem       text        NOT NULL,
    -- null once the photo is gone: the same file is another photo then
    sha256     text,
    mime_type  text        NOT NULL,
    size_bytes bigint      NOT NULL,
    -- whose account; accounts may go, so nothing is referenced
    uploader   uuid        NOT NULL,
    status     text        NOT NULL CHECK (status IN ('storing', 'stored')),
    created_at timestamptz NOT NULL,
    -- while it is stored: when somebody looks what became of it
    due_at     timestamptz,
    UNIQUE (event_id, stem),
    UNIQUE (event_id, sha256)
);

CREATE INDEX photo_uploads_due ON photo_uploads (due_at) WHERE status = 'storing';

-- The photos that have a name, those that are hidden too.
CREATE INDEX event_photos_by_key ON event_photos (event_id, s3_key COLLATE "C") WHERE status <> 'removed';
