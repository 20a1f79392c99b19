-- name: remove
DELETE FROM faces WHERE photo_id = ANY ($1::uuid[]);

-- Where faces were found before; in parts of the picture where its size is known.
-- name: places
SELECT face.face_id, face.box, member.face_id IS NOT NULL AS is_member,
       CASE WHEN photo.width_px > 0 AND photo.height_px > 0
            THEN ARRAY[face.box[1] / photo.width_px, face.box[2] / photo.height_px,
                       face.box[3] / photo.width_px, face.box[4] / photo.height_px] END AS place
FROM faces AS face JOIN photos AS photo USING (photo_id) LEFT JOIN members AS member USING (face_id)
WHERE face.photo_id = $1;

-- name: remove_of_pack
DELETE FROM faces WHERE photo_id = $1 AND pack = $2 AND pack_version = $3;

-- name: add
INSERT INTO faces (face_id, event_id, photo_id, pack, pack_version, embedding, box, landmarks, score, size_px, sharpness,
                   yaw, pitch, roll)
SELECT face.face_id, $1, $2, $3, $4, face.embedding::halfvec(512), face.box, face.landmarks, face.score, face.size_px,
       face.sharpness, face.yaw, face.pitch, face.roll
FROM jsonb_to_recordset($5) AS face (
    face_id uuid, embedding text, box real[], landmarks real[], score real, size_px real, sharpness real, yaw real,
    pitch real, roll real);

-- The same, of a photo that had no faces: all of them wait to be sorted.
-- name: add_first
WITH added AS (
    INSERT INTO faces (face_id, event_id, photo_id, pack, pack_version, embedding, box, landmarks, score, size_px,
                       sharpness, yaw, pitch, roll)
    SELECT face.face_id, $1, $2, $3, $4, face.embedding::halfvec(512), face.box, face.landmarks, face.score,
           face.size_px, face.sharpness, face.yaw, face.pitch, face.roll
    FROM jsonb_to_recordset($5) AS face (
        face_id uuid, embedding text, box real[], landmarks real[], score real, size_px real, sharpness real, yaw real,
        pitch real, roll real)
    RETURNING face_id, event_id, photo_id
)
INSERT INTO members (face_id, event_id, photo_id) SELECT face_id, event_id, photo_id FROM added;

-- name: remove_these
DELETE FROM faces WHERE face_id = ANY ($1::uuid[]);

-- Whether an event has more faces than so many, to choose the way of its search; no more of them are counted.
-- name: are_more_than
SELECT EXISTS (SELECT 1 FROM faces WHERE event_id = $1 AND pack = $2 AND pack_version = $3 OFFSET $4);

-- Every embedding of the event is compared; the index, which may miss some, is kept out by reading them first. The one
-- that is looked for is read in a subquery, which runs once: in the expression it would be read anew for every row.
-- name: exact
WITH compared AS MATERIALIZED (
    SELECT photo_id, box, score, 1 - (embedding <=> (SELECT $4::text::halfvec(512))) AS similarity
    FROM faces WHERE event_id = $1 AND pack = $2 AND pack_version = $3
), best AS (
    SELECT DISTINCT ON (photo_id) * FROM compared WHERE similarity >= $5 ORDER BY photo_id, similarity DESC
)
SELECT photo.photo_id, photo.s3_key, nearest.similarity, nearest.box, nearest.score
FROM (SELECT * FROM best ORDER BY similarity DESC, photo_id LIMIT $6) AS nearest JOIN photos AS photo USING (photo_id)
ORDER BY nearest.similarity DESC, photo.photo_id;

-- name: look_further
SELECT set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', $1::text, true),
       set_config('hnsw.max_scan_tuples', $2::text, true);

-- The nearest first, by the index; one photo may come several times.
-- name: near
SELECT face.photo_id, photo.s3_key, 1 - (face.embedding <=> (SELECT $4::text::halfvec(512))) AS similarity, face.box, face.score
FROM faces AS face JOIN photos AS photo USING (photo_id)
WHERE face.event_id = $1 AND face.pack = $2 AND face.pack_version = $3
ORDER BY face.embedding <=> (SELECT $4::text::halfvec(512))
LIMIT $5;
