-- Events at which photos were taken, and what was decided about looking for faces on them.

CREATE TABLE photo_events (
    -- UUIDv7: ordered by time, so lists page by id
    id                  uuid        PRIMARY KEY,
    -- names the folder in the bucket; never given twice
    number              bigint      NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    name                text        NOT NULL,
    -- grows with every change; who is told of an older one later passes it over
    version             integer     NOT NULL DEFAULT 1,
    -- whose account; events outlive accounts, so nothing is referenced
    owner               uuid        NOT NULL,
    auto_index          boolean     NOT NULL,
    face_search_enabled boolean     NOT NULL,
    -- what who searches has to agree to; without a text nothing is asked
    consent_text        text,
    -- counts the texts
    consent_version     integer     NOT NULL,
    expires_at          timestamptz,
    -- deleted events keep their row: facts that come late meet it
    is_deleted          boolean     NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX photo_events_of_owner ON photo_events (owner, id DESC) WHERE NOT is_deleted;
CREATE INDEX photo_events_by_time ON photo_events (id DESC) WHERE NOT is_deleted;

-- Who allowed or forbade the search for faces, with which text and until when.
CREATE TABLE photo_event_consents (
    event_id            uuid        NOT NULL REFERENCES photo_events,
    -- of the event, with the change that this was
    event_version       integer     NOT NULL,
    face_search_enabled boolean     NOT NULL,
    consent_text        text,
    consent_version     integer     NOT NULL,
    expires_at          timestamptz,
    decided_by          uuid        NOT NULL,
    decided_at          timestamptz NOT NULL,
    PRIMARY KEY (event_id, event_version)
);
