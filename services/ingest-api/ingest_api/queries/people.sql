-- Only a newer fact overwrites, and of a deleted event nothing is known any more. Who is gone keeps no name; whose faces are
-- another's now, theirs are at once.
-- name: record
WITH recorded AS (
    INSERT INTO people (id, event_id, version, name, faces, photos, cover_photo_id, cover_box, is_gone, merged_into,
                        changed_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
    WHERE NOT EXISTS (SELECT 1 FROM event_removals WHERE event_id = $2)
    ON CONFLICT (id) DO UPDATE
    SET version = excluded.version, name = excluded.name, faces = excluded.faces, photos = excluded.photos,
        cover_photo_id = excluded.cover_photo_id, cover_box = excluded.cover_box, is_gone = excluded.is_gone,
        merged_into = excluded.merged_into, changed_at = excluded.changed_at
    WHERE people.version < excluded.version
    RETURNING id, merged_into
)
UPDATE photo_faces SET person_id = recorded.merged_into
FROM recorded WHERE recorded.merged_into IS NOT NULL AND photo_faces.person_id = recorded.id;

-- name: record_photo
WITH told AS (
    INSERT INTO photo_people (photo_id, event_id, version, width_px, height_px)
    SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM event_removals WHERE event_id = $2)
    ON CONFLICT (photo_id) DO UPDATE
    SET version = excluded.version, width_px = excluded.width_px, height_px = excluded.height_px
    WHERE photo_people.version < excluded.version
    RETURNING photo_id
), faces AS (
    SELECT told.photo_id, face.face_id, face.person_id, face.box
    FROM told, jsonb_to_recordset($6) AS face (face_id uuid, person_id uuid, box real[])
), gone AS (
    DELETE FROM photo_faces USING told
    WHERE photo_faces.photo_id = told.photo_id AND photo_faces.face_id NOT IN (SELECT face_id FROM faces)
)
INSERT INTO photo_faces (photo_id, face_id, person_id, box) SELECT photo_id, face_id, person_id, box FROM faces
ON CONFLICT (photo_id, face_id) DO UPDATE SET person_id = excluded.person_id, box = excluded.box;

-- The cover only where its photo is shown.
-- name: page
SELECT person.id, person.version, person.name, person.faces, person.photos, person.changed_at,
       cover.id AS cover_photo_id, cover.s3_key AS cover_key,
       CASE WHEN cover.id IS NOT NULL THEN person.cover_box END AS cover_box
FROM people AS person LEFT JOIN event_photos AS cover
     ON cover.id = person.cover_photo_id AND cover.status <> 'removed' AND cover.hidden_at IS NULL
WHERE person.event_id = $1 AND NOT person.is_gone
  AND ($2::integer IS NULL OR person.faces < $2 OR (person.faces = $2 AND person.id > $3))
ORDER BY person.faces DESC, person.id
LIMIT $4;

-- name: get
SELECT person.id, person.version, person.name, person.faces, person.photos, person.changed_at,
       cover.id AS cover_photo_id, cover.s3_key AS cover_key,
       CASE WHEN cover.id IS NOT NULL THEN person.cover_box END AS cover_box
FROM people AS person LEFT JOIN event_photos AS cover
     ON cover.id = person.cover_photo_id AND cover.status <> 'removed' AND cover.hidden_at IS NULL
WHERE person.event_id = $1 AND person.id = $2 AND NOT person.is_gone;

-- name: photos_of
SELECT photo.id, photo.s3_key, photo.image_key,
       jsonb_agg(jsonb_build_object('face_id', face.face_id, 'box', to_jsonb(face.box)) ORDER BY face.face_id) AS faces
FROM photo_faces AS face JOIN event_photos AS photo ON photo.id = face.photo_id
WHERE face.person_id = $2 AND photo.event_id = $1 AND photo.status <> 'removed' AND photo.hidden_at IS NULL
  AND ($3::uuid IS NULL OR photo.id > $3)
GROUP BY photo.id
ORDER BY photo.id
LIMIT $4;

-- name: photo_size
SELECT photo.id, told.width_px, told.height_px
FROM event_photos AS photo LEFT JOIN photo_people AS told ON told.photo_id = photo.id
WHERE photo.event_id = $1 AND photo.id = $2 AND photo.status <> 'removed' AND photo.hidden_at IS NULL;

-- name: preview_sizes
SELECT photo_id, width_px, height_px FROM photo_people
WHERE photo_id = ANY($1::uuid[]) AND width_px IS NOT NULL AND height_px IS NOT NULL;

-- name: faces_of_photo
SELECT face.face_id, face.box, person.id AS person_id, person.name
FROM photo_faces AS face LEFT JOIN people AS person ON person.id = face.person_id AND NOT person.is_gone
WHERE face.photo_id = $1
ORDER BY face.box;

-- name: remove_gone
DELETE FROM people WHERE id IN (
    SELECT id FROM people WHERE is_gone AND changed_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2)
RETURNING id;

-- name: add_change
INSERT INTO people_changes (id, event_id, kind, people, undone, requested_by, requested_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- Once; whoever waits for it is woken.
-- name: end_change
WITH ended AS (
    UPDATE people_changes
    SET status = CASE WHEN $2 THEN 'done' ELSE 'refused' END, person_id = $3, code = $4, detail = $5, ended_at = $6
    WHERE id = $1 AND status = 'waiting'
    RETURNING id, undone
), taken_back AS (
    UPDATE people_changes SET undone_by = ended.id FROM ended WHERE $2 AND people_changes.id = ended.undone
)
SELECT pg_notify('notices_' || current_schema(), id::text) FROM ended;

-- name: change
SELECT * FROM people_changes WHERE event_id = $1 AND id = $2;

-- name: changes
SELECT * FROM people_changes WHERE event_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3;

-- name: remove_changes
DELETE FROM people_changes WHERE id IN (
    SELECT id FROM people_changes WHERE requested_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2)
RETURNING id;
