-- name: people
SELECT person_id, name, version FROM people
WHERE event_id = $1 AND person_id = ANY ($2::uuid[]) AND merged_into IS NULL ORDER BY person_id;

-- name: add
INSERT INTO people_changes (change_id, event_id, kind, made_by) VALUES ($1, $2, $3, $4);

-- name: note_people
INSERT INTO changed_people (change_id, person_id, role, was_named)
SELECT $1, person.person_id, noted.role, person.name
FROM unnest($2::uuid[], $3::text[]) AS noted (person_id, role) JOIN people AS person USING (person_id);

-- name: note_faces
INSERT INTO changed_faces (change_id, face_id, was_of, was_part)
SELECT $1, face_id, person_id, part FROM members
WHERE person_id = ANY ($2::uuid[]) AND ($3::uuid[] IS NULL OR face_id = ANY ($3::uuid[]));

-- name: decide
UPDATE people SET is_decided = true WHERE person_id = ANY ($1::uuid[]);

-- name: call
UPDATE people SET name = $2 WHERE person_id = $1;

-- name: merge
WITH moved AS (
    UPDATE members SET person_id = $2 WHERE person_id = ANY ($3::uuid[]) RETURNING photo_id
), gone AS (
    UPDATE people SET merged_into = $2, name = NULL WHERE person_id = ANY ($3::uuid[])
)
INSERT INTO people_news (event_id, photo_id) SELECT DISTINCT $1::uuid, photo_id FROM moved;

-- name: faces_of
SELECT face_id FROM members WHERE person_id = $1 AND face_id = ANY ($2::uuid[]);

-- name: count_faces
SELECT count(*) FROM members WHERE person_id = $1;

-- name: split
WITH moved AS (
    UPDATE members SET person_id = $2, part = $2, waits = NULL WHERE face_id = ANY ($3::uuid[]) RETURNING photo_id
)
INSERT INTO people_news (event_id, photo_id) SELECT DISTINCT $1::uuid, photo_id FROM moved;

-- name: lock_change
SELECT change_id, kind, undone_at IS NOT NULL AS is_undone FROM people_changes
WHERE change_id = $1 AND event_id = $2 FOR UPDATE;

-- What was decided about one of these people later has to be undone first.
-- name: is_outdated
SELECT EXISTS (
    SELECT 1 FROM people_changes AS change
    JOIN changed_people AS ours ON ours.change_id = change.change_id
    JOIN changed_people AS later ON later.person_id = ours.person_id
    JOIN people_changes AS newer ON newer.change_id = later.change_id
    WHERE change.change_id = $1 AND newer.number > change.number AND newer.undone_at IS NULL);

-- name: changed_people
SELECT person_id, role, was_named FROM changed_people WHERE change_id = $1 ORDER BY person_id;

-- Faces that the change moved and that are still there, back to whose they were.
-- name: move_back
WITH moved AS (
    UPDATE members SET person_id = changed.was_of, part = changed.was_part
    FROM changed_faces AS changed
    WHERE changed.change_id = $2 AND members.face_id = changed.face_id AND members.person_id = $3
      AND EXISTS (SELECT 1 FROM people WHERE person_id = changed.was_of)
    RETURNING members.photo_id
), told AS (
    INSERT INTO people_news (event_id, photo_id) SELECT DISTINCT $1::uuid, photo_id FROM moved
)
SELECT count(*) FROM moved;

-- Faces that have joined those since, by being like them, go with them.
-- name: move_joined
WITH moved AS (
    UPDATE members SET person_id = back.was_of
    FROM (SELECT DISTINCT was_of, was_part FROM changed_faces WHERE change_id = $2) AS back
    WHERE members.person_id = $3 AND members.part = back.was_part
      AND EXISTS (SELECT 1 FROM people WHERE person_id = back.was_of)
    RETURNING members.photo_id
)
INSERT INTO people_news (event_id, photo_id) SELECT DISTINCT $1::uuid, photo_id FROM moved;

-- name: move_rest
WITH moved AS (
    UPDATE members SET person_id = $3 WHERE person_id = $2 RETURNING photo_id
)
INSERT INTO people_news (event_id, photo_id) SELECT DISTINCT $1::uuid, photo_id FROM moved;

-- name: bring_back
UPDATE people SET merged_into = NULL, name = $2 WHERE person_id = $1;

-- name: note_undone
UPDATE people_changes SET undone_at = clock_timestamp() WHERE change_id = $1;

-- What an undone change would have needed is kept no longer.
-- name: forget_faces
DELETE FROM changed_faces WHERE change_id = $1;
