-- Photos that somebody deleted and whose files are still to be taken out of the bucket.
CREATE TABLE photo_removals (
    photo_id    uuid        PRIMARY KEY,
    -- the original first: of it a missing preview would be made anew
    object_keys text[]      NOT NULL,
    removed_by  uuid        NOT NULL,
    removed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- when it is tried again
    due_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX photo_removals_due ON photo_removals (due_at);
