-- Syncs of events' photos and the photos themselves, as face-embedder tells of them.

CREATE TABLE face_syncs (
    -- UUIDv7: ordered by time
    id                uuid        PRIMARY KEY,
    event_id          uuid        NOT NULL REFERENCES photo_events,
    s3_prefix         text        NOT NULL,
    -- of the newest fact; 0 until face-embedder has told of the sync
    version           integer     NOT NULL DEFAULT 0,
    status            text        NOT NULL DEFAULT 'listing'
                      CHECK (status IN ('listing', 'indexing', 'completed', 'failed')),
    total_found       integer     NOT NULL DEFAULT 0,
    new_photos        integer     NOT NULL DEFAULT 0,
    skipped           integer     NOT NULL DEFAULT 0,
    processed         integer     NOT NULL DEFAULT 0,
    failed            integer     NOT NULL DEFAULT 0,
    no_face           integer     NOT NULL DEFAULT 0,
    originals_missing integer     NOT NULL DEFAULT 0,
    previews_made     integer     NOT NULL DEFAULT 0,
    message           text        NOT NULL,
    requested_at      timestamptz NOT NULL,
    -- since when photos are indexed
    indexing_since    timestamptz,
    -- when it was asked for, or last told of
    heard_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at       timestamptz,
    -- whose accounts asked for it; accounts may go, so nothing is referenced
    watchers          uuid[]      NOT NULL,
    -- what they were last told over the WebSocket
    told_status       text,
    told_at           timestamptz
)
WITH (fillfactor = 80);

-- Of one event one sync at a time; whoever asks for another one joins it.
CREATE UNIQUE INDEX face_syncs_running ON face_syncs (event_id) WHERE finished_at IS NULL;
CREATE INDEX face_syncs_silent ON face_syncs (heard_at) WHERE finished_at IS NULL;
CREATE INDEX face_syncs_finished ON face_syncs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE event_photos (
    id         uuid             PRIMARY KEY,
    -- a photo may be told of by a system whose events were restored: nothing is referenced
    event_id   uuid             NOT NULL,
    -- of the newest fact; removed photos keep their row, so that facts that come late meet it
    version    integer          NOT NULL,
    s3_key     text             NOT NULL,
    image_key  text,
    status     text             NOT NULL
               CHECK (status IN ('pending', 'indexed', 'no_face_detected', 'failed', 'removed')),
    faces      integer          NOT NULL,
    confidence double precision NOT NULL,
    code       text,
    detail     text,
    changed_at timestamptz      NOT NULL,
    -- deleted here; nobody sees it from then on
    hidden_at  timestamptz
)
WITH (fillfactor = 80);

CREATE INDEX event_photos_of_event ON event_photos (event_id, id) WHERE status <> 'removed' AND hidden_at IS NULL;
