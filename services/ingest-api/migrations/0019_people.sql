-- Who is on the photos of events, as face-embedder tells of them.

CREATE TABLE people (
    id             uuid    PRIMARY KEY,
    -- people may be told of by a system whose events were restored: nothing is referenced
    event_id       uuid    NOT NULL,
    -- of the newest fact; who is gone keeps the row without a name, so that facts that come late meet it
    version        bigint  NOT NULL,
    name           text,
    faces          integer NOT NULL,
    photos         integer NOT NULL,
    cover_photo_id uuid,
    cover_box      real[],
    is_gone        boolean NOT NULL,
    merged_into    uuid,
    changed_at     timestamptz NOT NULL,
    CHECK (NOT is_gone OR (name IS NULL AND cover_photo_id IS NULL AND cover_box IS NULL))
)
WITH (fillfactor = 80);

CREATE INDEX people_of_event ON people (event_id, faces DESC, id) WHERE NOT is_gone;
CREATE INDEX people_gone ON people (changed_at) WHERE is_gone;

-- Of which version a photo's faces are; also where it has none.
CREATE TABLE photo_people (
    photo_id  uuid    PRIMARY KEY,
    event_id  uuid    NOT NULL,
    version   bigint  NOT NULL,
    width_px  integer,
    height_px integer
);

CREATE TABLE photo_faces (
    photo_id  uuid   NOT NULL REFERENCES photo_people ON DELETE CASCADE,
    face_id   uuid   NOT NULL,
    -- null while nobody knows whose it is
    person_id uuid,
    -- left, top, right, bottom in pixels of the preview
    box       real[] NOT NULL,
    PRIMARY KEY (photo_id, face_id)
);

CREATE INDEX photo_faces_of_person ON photo_faces (person_id, photo_id) WHERE person_id IS NOT NULL;

-- What somebody decided about people, and what came of it. What they are called stands with them alone.
CREATE TABLE people_changes (
    -- UUIDv7: ordered by time
    id           uuid        PRIMARY KEY,
    event_id     uuid        NOT NULL REFERENCES photo_events,
    kind         text        NOT NULL CHECK (kind IN ('name', 'merge', 'split', 'undo')),
    -- who it is about: who is named, stays or is split, then who is merged; of an undo the people of the change
    people       uuid[]      NOT NULL,
    -- the change that an undo takes back
    undone       uuid,
    status       text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'done', 'refused')),
    code         text,
    detail       text,
    -- who came of it
    person_id    uuid,
    -- whose account; accounts may go, so nothing is referenced
    requested_by uuid        NOT NULL,
    requested_at timestamptz NOT NULL,
    ended_at     timestamptz,
    -- the undo that has taken it back
    undone_by    uuid
);

CREATE INDEX people_changes_of_event ON people_changes (event_id, id);
CREATE INDEX people_changes_requested ON people_changes (requested_at);
