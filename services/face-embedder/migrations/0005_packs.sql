-- Packs that processes were set to use; the one in front takes the place of the others, however often those are wanted.
CREATE TABLE packs (
    pack         text    NOT NULL,
    pack_version text    NOT NULL,
    revision     integer NOT NULL,
    place        bigint  GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (revision, pack, pack_version)
);

CREATE VIEW wanted_pack AS SELECT pack, pack_version FROM packs ORDER BY revision DESC, place DESC LIMIT 1;

-- What each process can look with, for as long as it says so.
CREATE TABLE replicas (
    replica_id uuid        PRIMARY KEY,
    packs      text[]      NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The pack whose faces are searched; null where none has found any.
ALTER TABLE events ADD COLUMN pack text, ADD COLUMN pack_version text;
-- The pack that found the photo's faces, those that are told of.
ALTER TABLE photos ADD COLUMN pack text, ADD COLUMN pack_version text;

UPDATE events SET pack = used.pack, pack_version = used.pack_version
FROM (SELECT DISTINCT ON (event_id) event_id, pack, pack_version
      FROM (SELECT event_id, pack, pack_version, count(*) AS faces FROM faces GROUP BY 1, 2, 3) AS counted
      ORDER BY event_id, faces DESC) AS used
WHERE events.event_id = used.event_id;

UPDATE photos SET pack = used.pack, pack_version = used.pack_version
FROM (SELECT DISTINCT ON (photo_id) photo_id, pack, pack_version FROM faces) AS used
WHERE photos.photo_id = used.photo_id;

UPDATE photos SET pack = event.pack, pack_version = event.pack_version
FROM events AS event WHERE photos.event_id = event.event_id AND photos.status = 'no_face_detected';

INSERT INTO packs (pack, pack_version, revision)
SELECT pack, pack_version, 1 FROM events WHERE pack IS NOT NULL GROUP BY 1, 2 ORDER BY count(*);

-- Photos that wait for faces of a pack beside those that are told of, and those for which they are found.
CREATE TABLE second_looks (
    photo_id     uuid    NOT NULL REFERENCES photos ON DELETE CASCADE,
    event_id     uuid    NOT NULL,
    pack         text    NOT NULL,
    pack_version text    NOT NULL,
    -- of the photo's content; it counts for nothing once there is another
    generation   integer NOT NULL,
    state        text    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    attempts     integer NOT NULL DEFAULT 0,
    -- when somebody should look; whoever does keeps putting it off, a dead process does not
    due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    code         text,
    detail       text,
    PRIMARY KEY (photo_id, pack, pack_version)
);

CREATE INDEX second_looks_due ON second_looks (due_at) WHERE state = 'waiting';
CREATE INDEX second_looks_waiting ON second_looks (event_id) WHERE state = 'waiting';
CREATE INDEX second_looks_ended ON second_looks (event_id, photo_id) WHERE state <> 'waiting';
