-- Media that go for good, or are gone: nothing is learned of them, and no repair planned of what is left of their files.
CREATE TABLE deleted_media (
    media_id     uuid        PRIMARY KEY,
    deletion_id  uuid        NOT NULL,
    -- then what the bucket holds of it stays, and is nobody's orphan for as long as this row is here: for ever
    keeps_bucket boolean     NOT NULL,
    known_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz
);

CREATE INDEX deleted_media_known ON deleted_media (known_at) WHERE NOT keeps_bucket;
