-- Media that go for good: nothing is rendered for them any more. Rows stay for longer than commands may come again.
CREATE TABLE deleted_media (
    media_id    uuid        PRIMARY KEY,
    deletion_id uuid        NOT NULL,
    known_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX deleted_media_known ON deleted_media (known_at);
