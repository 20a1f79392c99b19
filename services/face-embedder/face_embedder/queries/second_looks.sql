-- What was found just now needs no second look with that pack, but one with the wanted pack if that is another.
-- name: owe
WITH settled AS (
    DELETE FROM second_looks WHERE photo_id = $1 AND pack = $4 AND pack_version = $5
)
INSERT INTO second_looks (photo_id, event_id, pack, pack_version, generation)
SELECT $1, $2, wanted.pack, wanted.pack_version, $3
FROM wanted_pack AS wanted WHERE (wanted.pack, wanted.pack_version) <> ($4, $5)
ON CONFLICT (photo_id, pack, pack_version) DO UPDATE
SET generation = excluded.generation, state = 'waiting', attempts = 0, due_at = clock_timestamp(), code = NULL,
    detail = NULL;

-- An event with another pack for which nothing waits: its photos are to be noted, or it is done. Whoever holds it alone
-- knows that nobody else does either.
-- name: lock_event
SELECT event_id, pack, pack_version FROM events AS event
WHERE event_id > $3 AND (pack, pack_version) IS DISTINCT FROM ($1, $2)
  AND NOT EXISTS (SELECT 1 FROM second_looks AS look
                  WHERE look.event_id = event.event_id AND look.state = 'waiting'
                    AND look.pack = $1 AND look.pack_version = $2)
ORDER BY event_id
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- Every photo of an event whose faces may be kept and were found by another pack, once for each of its contents.
-- name: plan
INSERT INTO second_looks (photo_id, event_id, pack, pack_version, generation)
SELECT photo.photo_id, photo.event_id, $2, $3, photo.generation
FROM photos AS photo JOIN events AS event USING (event_id)
WHERE photo.event_id = $1 AND photo.status IN ('indexed', 'no_face_detected')
  AND (photo.pack, photo.pack_version) IS DISTINCT FROM ($2, $3)
  AND NOT event.is_deleted AND coalesce(event.faces_expire_at > clock_timestamp(), true)
ON CONFLICT (photo_id, pack, pack_version) DO UPDATE
SET generation = excluded.generation, state = 'waiting', attempts = 0, due_at = clock_timestamp(), code = NULL,
    detail = NULL
WHERE second_looks.generation <> excluded.generation
RETURNING photo_id;

-- Not while a process lives that could not answer searches of the event any more.
-- name: switch
UPDATE events SET pack = $2, pack_version = $3
WHERE event_id = $1
  AND NOT EXISTS (SELECT 1 FROM second_looks WHERE event_id = $1 AND state = 'waiting' AND pack = $2 AND pack_version = $3)
  AND NOT EXISTS (SELECT 1 FROM replicas
                  WHERE seen_at > statement_timestamp() - make_interval(secs => $5) AND $4 <> ALL (packs))
RETURNING (SELECT count(*) FROM second_looks AS look
           WHERE look.event_id = $1 AND state = 'done' AND look.pack = $2 AND look.pack_version = $3) AS done,
          (SELECT count(*) FROM second_looks AS look
           WHERE look.event_id = $1 AND state = 'failed' AND look.pack = $2 AND look.pack_version = $3) AS failed;

-- name: claim
WITH due AS (
    SELECT photo_id FROM second_looks
    WHERE state = 'waiting' AND due_at <= statement_timestamp() AND pack = $1 AND pack_version = $2
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE second_looks AS look SET due_at = clock_timestamp() + make_interval(secs => $4), attempts = attempts + 1
    FROM due WHERE look.photo_id = due.photo_id AND look.pack = $1 AND look.pack_version = $2
    RETURNING look.photo_id, look.generation, look.attempts
)
SELECT photo.*, taken.attempts, taken.generation AS looked_generation
FROM taken JOIN photos AS photo USING (photo_id);

-- name: hold
UPDATE second_looks SET due_at = clock_timestamp() + make_interval(secs => $4)
WHERE photo_id = ANY ($1::uuid[]) AND pack = $2 AND pack_version = $3 AND state = 'waiting';

-- name: put_off
UPDATE second_looks SET due_at = clock_timestamp() + make_interval(secs => $4), attempts = attempts - $5
WHERE photo_id = $1 AND pack = $2 AND pack_version = $3 AND state = 'waiting';

-- Only while somebody still waits for it: a photo that is locked, with the content that was looked at.
-- name: finish
UPDATE second_looks AS look SET state = $5, code = $6, detail = $7
FROM photos AS photo
WHERE look.photo_id = $1 AND look.pack = $2 AND look.pack_version = $3 AND look.generation = $4
  AND look.state = 'waiting' AND photo.photo_id = look.photo_id AND photo.generation = look.generation
  AND photo.status IN ('indexed', 'no_face_detected')
RETURNING look.photo_id;

-- A look at a content that is not the photo's any more, or at a photo without one.
-- name: drop
DELETE FROM second_looks WHERE photo_id = $1 AND pack = $2 AND pack_version = $3 AND generation = $4;

-- Photos of events that have changed to the pack with which they were looked at.
-- name: lock_to_adopt
SELECT photo.photo_id
FROM second_looks AS look JOIN events AS event USING (event_id) JOIN photos AS photo USING (photo_id)
WHERE look.state <> 'waiting' AND look.pack = event.pack AND look.pack_version = event.pack_version
ORDER BY photo.photo_id
LIMIT $1
FOR UPDATE OF photo SKIP LOCKED;

-- The faces that take the place of others, and those others.
-- name: faces_to_carry
SELECT face.photo_id, face.face_id, face.box,
       (face.pack, face.pack_version) IS NOT DISTINCT FROM (event.pack, event.pack_version) AS is_new
FROM faces AS face JOIN photos AS photo USING (photo_id) JOIN events AS event ON event.event_id = photo.event_id
JOIN second_looks AS look ON look.photo_id = face.photo_id AND look.pack = event.pack
                         AND look.pack_version = event.pack_version AND look.generation = photo.generation
WHERE face.photo_id = ANY ($1::uuid[]) AND look.state <> 'waiting' AND photo.status IN ('indexed', 'no_face_detected')
  AND ((face.pack, face.pack_version) IS NOT DISTINCT FROM (photo.pack, photo.pack_version)
       OR (face.pack, face.pack_version) IS NOT DISTINCT FROM (event.pack, event.pack_version));

-- name: adopt
UPDATE photos
SET pack = look.pack, pack_version = look.pack_version, faces = found.faces, confidence = found.confidence,
    status = CASE WHEN look.state = 'failed' THEN 'failed' WHEN found.faces > 0 THEN 'indexed'
                  ELSE 'no_face_detected' END,
    code = look.code, detail = look.detail, version = photos.version + 1, changed_at = clock_timestamp()
FROM second_looks AS look JOIN events AS event USING (event_id)
CROSS JOIN LATERAL (SELECT count(*)::integer AS faces, coalesce(max(face.score), 0) AS confidence FROM faces AS face
                    WHERE face.photo_id = look.photo_id AND face.pack = look.pack
                      AND face.pack_version = look.pack_version) AS found
WHERE look.photo_id = ANY ($1::uuid[]) AND look.state <> 'waiting' AND look.pack = event.pack
  AND look.pack_version = event.pack_version AND photos.photo_id = look.photo_id
  AND photos.generation = look.generation AND photos.status IN ('indexed', 'no_face_detected')
RETURNING photos.*;

-- What the photos had before; a pack that takes the place of this one may have found its faces already.
-- name: remove_old_faces
DELETE FROM faces AS face USING photos AS photo
WHERE photo.photo_id = ANY ($1::uuid[]) AND face.photo_id = photo.photo_id
  AND (face.pack, face.pack_version) IS DISTINCT FROM (photo.pack, photo.pack_version)
  AND NOT EXISTS (SELECT 1 FROM second_looks AS look
                  WHERE look.photo_id = face.photo_id AND look.pack = face.pack
                    AND look.pack_version = face.pack_version AND look.generation = photo.generation);

-- name: remove_adopted
DELETE FROM second_looks AS look USING events AS event
WHERE look.photo_id = ANY ($1::uuid[]) AND look.event_id = event.event_id AND look.state <> 'waiting'
  AND look.pack = event.pack AND look.pack_version = event.pack_version;

-- Looks that nobody needs: of an event whose faces may not be kept, or with a pack that is neither wanted nor the event's.
-- name: discard
WITH needless AS (
    SELECT look.photo_id, look.pack, look.pack_version
    FROM second_looks AS look JOIN events AS event USING (event_id)
    WHERE event.is_deleted OR event.faces_expire_at <= clock_timestamp()
       OR (NOT EXISTS (SELECT 1 FROM wanted_pack AS wanted
                       WHERE wanted.pack = look.pack AND wanted.pack_version = look.pack_version)
           AND (look.state = 'waiting' OR (look.pack, look.pack_version) IS DISTINCT FROM (event.pack, event.pack_version)))
    LIMIT $1
    FOR UPDATE OF look SKIP LOCKED
), gone AS (
    DELETE FROM second_looks AS look USING needless
    WHERE look.photo_id = needless.photo_id AND look.pack = needless.pack AND look.pack_version = needless.pack_version
    RETURNING look.photo_id, look.pack, look.pack_version
), removed AS (
    DELETE FROM faces AS face USING gone JOIN photos AS photo USING (photo_id)
    WHERE face.photo_id = gone.photo_id AND face.pack = gone.pack AND face.pack_version = gone.pack_version
      AND (face.pack, face.pack_version) IS DISTINCT FROM (photo.pack, photo.pack_version)
)
SELECT count(*) FROM gone;
