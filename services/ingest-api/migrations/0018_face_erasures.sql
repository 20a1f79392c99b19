-- Faces that somebody wants erased: what was found, what was agreed to, and the receipt. Neither picture nor vector is kept.
CREATE TABLE face_erasures (
    -- also of the search that found the faces; UUIDv7
    id            uuid        PRIMARY KEY,
    event_id      uuid        NOT NULL REFERENCES photo_events,
    -- whose account; accounts may go, so nothing is referenced
    asked_by      uuid        NOT NULL,
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the faces by photo and place: those that were found, then those that were confirmed, none once they are gone
    faces         jsonb       NOT NULL,
    confirmed_at  timestamptz,
    completed_at  timestamptz,
    faces_erased  integer,
    -- the text as it was signed
    receipt       text,
    signature     bytea,
    public_key    bytea,
    CHECK ((completed_at IS NULL) = (receipt IS NULL)),
    CHECK ((receipt IS NULL) = (signature IS NULL) AND (receipt IS NULL) = (public_key IS NULL))
);

CREATE INDEX face_erasures_unconfirmed ON face_erasures (asked_at) WHERE confirmed_at IS NULL;
