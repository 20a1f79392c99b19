-- Only whoever holds this changes an event's people; photos are indexed meanwhile.
-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('people ' || $1::uuid::text, 0));

-- name: try_lock
SELECT pg_try_advisory_xact_lock(hashtextextended('people ' || $1::uuid::text, 0));

-- Events with something to do: what is to be told, and faces that wait where they may be looked for. Of news the first row
-- of each event is read, so that nobody waits behind one that has many.
-- name: due_events
WITH RECURSIVE told AS (
    (SELECT event_id FROM people_news ORDER BY event_id LIMIT 1)
    UNION ALL
    SELECT (SELECT news.event_id FROM people_news AS news WHERE news.event_id > told.event_id
            ORDER BY news.event_id LIMIT 1)
    FROM told WHERE told.event_id IS NOT NULL
)
SELECT event_id FROM told WHERE event_id IS NOT NULL
UNION
SELECT event_id FROM events AS event
WHERE event.is_searchable AND NOT event.is_deleted AND coalesce(event.faces_expire_at > clock_timestamp(), true)
  AND EXISTS (SELECT 1 FROM members AS member WHERE member.event_id = event.event_id AND member.waits IS NOT NULL);

-- name: take_news
DELETE FROM people_news WHERE id IN (SELECT id FROM people_news WHERE event_id = $1 ORDER BY id LIMIT $2)
RETURNING photo_id, person_id;

-- name: of_faces
SELECT DISTINCT person_id FROM members WHERE face_id = ANY ($1::uuid[]) AND person_id IS NOT NULL;

-- Photos of the event are about to change to another pack, and take their people along.
-- name: is_changing_pack
SELECT EXISTS (SELECT 1 FROM second_looks AS look JOIN events AS event USING (event_id)
               WHERE look.event_id = $1 AND look.state <> 'waiting' AND look.pack = event.pack
                 AND look.pack_version = event.pack_version);

-- Faces that wait for the first time, then those that may be somebody's by now. One that somebody removes at this moment
-- is left out, so that nobody waits for each other.
-- name: waiting
SELECT face.face_id, face.photo_id, face.pack, face.pack_version, halfvec_send(face.embedding) AS embedding, face.size_px,
       face.sharpness, face.yaw
FROM (SELECT face_id FROM members WHERE event_id = $1 AND waits = $2 ORDER BY face_id LIMIT $3
      FOR UPDATE SKIP LOCKED) AS member
JOIN faces AS face USING (face_id)
ORDER BY face.face_id;

-- name: parts
SELECT member.person_id, member.part, vector_send(avg(face.embedding::vector)) AS mean, count(*) AS clear_faces
FROM members AS member JOIN faces AS face USING (face_id)
WHERE member.event_id = $1 AND member.person_id IS NOT NULL AND member.is_clear
  AND face.pack = $2 AND face.pack_version = $3
GROUP BY member.person_id, member.part
ORDER BY member.person_id, member.part;

-- name: decided
SELECT person_id FROM people WHERE event_id = $1 AND is_decided;

-- name: on_photos
SELECT DISTINCT photo_id, person_id FROM members WHERE photo_id = ANY ($1::uuid[]) AND person_id IS NOT NULL;

-- Photos of people all of whose faces nobody else is at.
-- name: lock_faces_of
WITH held AS MATERIALIZED (
    SELECT person_id, photo_id FROM members WHERE person_id = ANY ($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
)
SELECT person_id, array_agg(DISTINCT photo_id) AS photo_ids FROM held AS one
GROUP BY person_id
HAVING count(*) = (SELECT count(*) FROM members AS other WHERE other.person_id = one.person_id);

-- name: add
INSERT INTO people (person_id, event_id, is_decided) SELECT person_id, $1, $3 FROM unnest($2::uuid[]) AS made (person_id);

-- name: place
UPDATE members SET person_id = placed.person_id, part = placed.part, is_clear = placed.is_clear, waits = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::boolean[]) AS placed (face_id, person_id, part, is_clear)
WHERE members.face_id = placed.face_id;

-- Those whom nobody was like may be like somebody who has been found since. One that somebody removes at this moment is left
-- out: they may wait for a face that is held here.
-- name: look_again
UPDATE members SET waits = 'again'
FROM (SELECT face_id FROM members WHERE event_id = $1 AND person_id IS NULL AND waits IS NULL
      FOR NO KEY UPDATE SKIP LOCKED) AS alone
WHERE members.face_id = alone.face_id;

-- name: absorb
WITH moved AS (
    UPDATE members SET person_id = $2, part = $3 WHERE person_id = $4 RETURNING photo_id
)
INSERT INTO people_news (event_id, photo_id) SELECT DISTINCT $1::uuid, photo_id FROM moved;

-- name: gone_by_union
DELETE FROM people WHERE person_id = $1 RETURNING nextval('people_versions') AS version;

-- How people are now, those without a face too.
-- name: renewed
WITH counted AS (
    SELECT wanted.person_id, count(member.face_id)::integer AS faces, count(DISTINCT member.photo_id)::integer AS photos
    FROM unnest($2::uuid[]) AS wanted (person_id) LEFT JOIN members AS member USING (person_id)
    GROUP BY wanted.person_id
), renewed AS (
    UPDATE people SET version = nextval('people_versions') WHERE event_id = $1 AND person_id = ANY ($2::uuid[])
    RETURNING person_id, name, version, merged_into
)
SELECT person_id, name, version, merged_into, faces, photos FROM renewed JOIN counted USING (person_id)
ORDER BY person_id;

-- What people are called, and were before, with those who were merged into them.
-- name: forget_names
WITH RECURSIVE they AS (
    SELECT person_id FROM people WHERE event_id = $1 AND person_id = ANY ($2::uuid[])
    UNION
    SELECT merged.person_id FROM people AS merged JOIN they ON merged.merged_into = they.person_id WHERE merged.event_id = $1
), nameless AS (
    UPDATE people SET name = NULL WHERE person_id IN (SELECT person_id FROM they)
)
UPDATE changed_people SET was_named = NULL WHERE person_id IN (SELECT person_id FROM they);

-- The face that shows somebody best: clear, seen from in front, large.
-- name: covers
SELECT DISTINCT ON (member.person_id) member.person_id, face.photo_id, face.box
FROM members AS member JOIN faces AS face USING (face_id)
WHERE member.person_id = ANY ($1::uuid[])
ORDER BY member.person_id, member.is_clear DESC, abs(face.yaw) <= 25 DESC, face.size_px DESC, face.face_id;

-- People without a face, unless they were merged and can come back: with them goes what they were called.
-- name: remove_empty
DELETE FROM people AS person
WHERE event_id = $1 AND (person_id = ANY ($2::uuid[]) OR merged_into IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM members WHERE members.person_id = person.person_id)
  AND (merged_into IS NULL OR NOT EXISTS (SELECT 1 FROM changed_faces WHERE was_of = person.person_id));

-- name: photos_told
SELECT photo.photo_id, photo.width_px, photo.height_px, nextval('people_versions') AS version,
       coalesce(jsonb_agg(jsonb_build_object('face_id', face.face_id, 'box', to_jsonb(face.box),
                                             'person_id', member.person_id) ORDER BY face.face_id)
                FILTER (WHERE face.face_id IS NOT NULL), '[]'::jsonb) AS faces
FROM photos AS photo
LEFT JOIN members AS member ON member.photo_id = photo.photo_id
LEFT JOIN faces AS face ON face.face_id = member.face_id
WHERE photo.photo_id = ANY ($1::uuid[])
GROUP BY photo.photo_id
ORDER BY photo.photo_id;

-- What was decided so long ago can't be undone any more.
-- name: prune_changes
DELETE FROM people_changes WHERE change_id IN (
    SELECT change_id FROM people_changes WHERE made_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2);
