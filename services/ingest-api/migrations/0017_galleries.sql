-- Links with which guests see the photos of an event; the token itself is stored nowhere.
CREATE TABLE galleries (
    id           uuid        PRIMARY KEY,
    event_id     uuid        NOT NULL REFERENCES photo_events,
    name         text        NOT NULL,
    token_hash   bytea       NOT NULL UNIQUE,
    -- argon2id; null: whoever has the link needs no PIN
    pin_hash     text,
    may_list     boolean     NOT NULL,
    may_search   boolean     NOT NULL,
    may_download boolean     NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    created_by   uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX galleries_of_event ON galleries (event_id, id DESC);
CREATE INDEX face_searches_of_gallery ON face_searches (gallery_id, asked_at) WHERE gallery_id IS NOT NULL;
