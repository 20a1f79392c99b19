-- Who is on the photos of an event. Whatever names two of these rows names the event too, so that nobody is in two events.

-- Orders all that is told of people and of whose faces a photo has.
CREATE SEQUENCE people_versions;

CREATE TABLE people (
    -- UUIDv7: the older of two is the smaller
    person_id   uuid    PRIMARY KEY,
    event_id    uuid    NOT NULL REFERENCES events,
    name        text,
    version     bigint  NOT NULL DEFAULT nextval('people_versions'),
    -- somebody has named them or said which faces are theirs: two of these are never put together by likeness
    is_decided  boolean NOT NULL DEFAULT false,
    -- their faces are this one's, until that is undone
    merged_into uuid,
    UNIQUE (event_id, person_id),
    FOREIGN KEY (event_id, merged_into) REFERENCES people (event_id, person_id) ON DELETE CASCADE
);

CREATE INDEX people_merged ON people (event_id, merged_into) WHERE merged_into IS NOT NULL;

ALTER TABLE faces ADD UNIQUE (event_id, face_id);

-- Whose each face is. A table of its own: a row of `faces` that changed would be written anew with its embedding.
CREATE TABLE members (
    face_id   uuid    PRIMARY KEY,
    event_id  uuid    NOT NULL,
    photo_id  uuid    NOT NULL,
    person_id uuid,
    -- faces that were put together by likeness; people whom somebody merged have several
    part      uuid,
    -- seen well enough to tell by it who somebody is
    is_clear  boolean NOT NULL DEFAULT false,
    -- to be looked at: for the first time, or because others were found since; null otherwise
    waits     text    DEFAULT 'first' CHECK (waits IN ('first', 'again')),
    CHECK ((person_id IS NULL) = (part IS NULL)),
    FOREIGN KEY (event_id, face_id) REFERENCES faces (event_id, face_id) ON DELETE CASCADE,
    FOREIGN KEY (event_id, person_id) REFERENCES people (event_id, person_id)
);

CREATE INDEX members_waiting ON members (event_id, waits, face_id) WHERE waits IS NOT NULL;
CREATE INDEX members_of_person ON members (person_id, photo_id) WHERE person_id IS NOT NULL;
CREATE INDEX members_of_event ON members (event_id) WHERE person_id IS NOT NULL;
CREATE INDEX members_alone ON members (event_id) WHERE person_id IS NULL AND waits IS NULL;
CREATE INDEX members_of_photo ON members (photo_id);

INSERT INTO members (face_id, event_id, photo_id) SELECT face_id, event_id, photo_id FROM faces;

-- Photos and people of which something is to be told. Rows are only added and taken away, so that nobody waits for another.
CREATE TABLE people_news (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id  uuid NOT NULL,
    photo_id  uuid NOT NULL,
    person_id uuid
);

CREATE INDEX people_news_of_event ON people_news (event_id, id);

-- Whatever takes a face away, its person learns of it.
CREATE FUNCTION note_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO people_news (event_id, photo_id, person_id) VALUES (old.event_id, old.photo_id, old.person_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER members_gone AFTER DELETE ON members FOR EACH ROW EXECUTE FUNCTION note_member();
CREATE TRIGGER members_carried AFTER UPDATE OF face_id ON members FOR EACH ROW EXECUTE FUNCTION note_member();

-- What somebody decided, and how it was before; that goes with the people and faces it is about.
CREATE TABLE people_changes (
    change_id uuid        PRIMARY KEY,
    number    bigint      GENERATED ALWAYS AS IDENTITY,
    event_id  uuid        NOT NULL REFERENCES events,
    kind      text        NOT NULL CHECK (kind IN ('name', 'merge', 'split')),
    made_by   uuid,
    made_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone_at timestamptz
);

CREATE INDEX people_changes_of_event ON people_changes (event_id, number);
CREATE INDEX people_changes_made ON people_changes (made_at);

CREATE TABLE changed_people (
    change_id uuid NOT NULL REFERENCES people_changes ON DELETE CASCADE,
    person_id uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    -- who keeps the faces or the name, who was merged, whom a split has made
    role      text NOT NULL CHECK (role IN ('kept', 'merged', 'made')),
    was_named text,
    PRIMARY KEY (change_id, person_id)
);

CREATE INDEX changed_people_person ON changed_people (person_id);

CREATE TABLE changed_faces (
    change_id uuid NOT NULL REFERENCES people_changes ON DELETE CASCADE,
    face_id   uuid NOT NULL REFERENCES members ON UPDATE CASCADE ON DELETE CASCADE,
    was_of    uuid NOT NULL,
    was_part  uuid NOT NULL,
    PRIMARY KEY (change_id, face_id)
);

CREATE INDEX changed_faces_face ON changed_faces (face_id);
CREATE INDEX changed_faces_was_of ON changed_faces (was_of);
