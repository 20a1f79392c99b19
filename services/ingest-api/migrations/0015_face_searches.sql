-- Who looked for a face, where and when, under which consent, and what came of it. Neither picture nor vector is kept.

CREATE TABLE face_searches (
    -- UUIDv7: ordered by time, so lists page by id
    id              uuid        PRIMARY KEY,
    event_id        uuid        NOT NULL REFERENCES photo_events,
    -- whose account, or which gallery link; both may go, so nothing is referenced
    asked_by        uuid,
    gallery_id      uuid,
    asked_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the version of the event's text that was agreed to; null: to none
    consent_version integer,
    outcome         text        NOT NULL,
    matches         integer,
    finished_at     timestamptz,
    CHECK ((asked_by IS NULL) <> (gallery_id IS NULL))
);

CREATE INDEX face_searches_of_event ON face_searches (event_id, id DESC);

-- What a search found, for as long as its pages are read.
CREATE TABLE face_search_results (
    search_id       uuid             PRIMARY KEY REFERENCES face_searches ON DELETE CASCADE,
    event_id        uuid             NOT NULL,
    asked_by        uuid,
    gallery_id      uuid,
    faces_in_selfie integer          NOT NULL,
    chosen          integer          NOT NULL,
    pack            text             NOT NULL,
    threshold       double precision NOT NULL,
    -- best first: photo, key, similarity, box, confidence
    matches         jsonb            NOT NULL,
    found_at        timestamptz      NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX face_search_results_by_time ON face_search_results (found_at);
