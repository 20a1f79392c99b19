-- Facts that were being recorded when the event was deleted have committed by then.
-- name: add
INSERT INTO event_removals (event_id, removes_files, asked_by, due_at)
VALUES ($1, $2, $3, clock_timestamp() + interval '10 seconds');

-- name: get
SELECT *, extract(epoch FROM clock_timestamp() - asked_at)::float8 AS asked_seconds_ago FROM event_removals WHERE event_id = $1;

-- Of several replicas one works on a removal, and it comes up again if that one goes.
-- name: claim
UPDATE event_removals SET due_at = clock_timestamp() + make_interval(secs => $1)
WHERE event_id = (
    SELECT event_id FROM event_removals WHERE completed_at IS NULL AND due_at <= clock_timestamp()
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING *, extract(epoch FROM clock_timestamp() - asked_at)::float8 AS asked_seconds_ago;

-- name: go_on
UPDATE event_removals
SET files_removed = files_removed + $2, problem = NULL, due_at = clock_timestamp() + make_interval(secs => $3)
WHERE event_id = $1;

-- name: note_problem
UPDATE event_removals SET problem = $2 WHERE event_id = $1;

-- Some rows at a time, each of these; whoever asks goes on until there are none.
-- name: forget_photos
DELETE FROM event_photos WHERE id IN (SELECT id FROM event_photos WHERE event_id = $1 LIMIT $2);

-- Not those on their way into the bucket: whoever is at them takes them back.
-- name: forget_uploads
DELETE FROM photo_uploads
WHERE id IN (SELECT id FROM photo_uploads WHERE event_id = $1 AND status = 'stored' LIMIT $2);

-- Those that are completed: files that are still to go, go.
-- name: forget_photo_removals
DELETE FROM photo_removals WHERE photo_id IN (
    SELECT photo_id FROM photo_removals WHERE event_id = $1 AND completed_at IS NOT NULL LIMIT $2
);

-- name: forget_people
DELETE FROM people WHERE id IN (SELECT id FROM people WHERE event_id = $1 LIMIT $2);

-- With whose faces are on them.
-- name: forget_photo_people
DELETE FROM photo_people WHERE photo_id IN (SELECT photo_id FROM photo_people WHERE event_id = $1 LIMIT $2);

-- name: forget_people_changes
DELETE FROM people_changes WHERE id IN (SELECT id FROM people_changes WHERE event_id = $1 LIMIT $2);

-- name: forget_search_results
DELETE FROM face_search_results
WHERE search_id IN (SELECT search_id FROM face_search_results WHERE event_id = $1 LIMIT $2);

-- Those that nobody has decided on: the faces that they name are gone. Not one that is confirmed at this moment.
-- name: forget_erasures
DELETE FROM face_erasures
WHERE id IN (SELECT id FROM face_erasures WHERE event_id = $1 AND confirmed_at IS NULL AND refused_at IS NULL LIMIT $2)
  AND confirmed_at IS NULL AND refused_at IS NULL;

-- name: complete
UPDATE event_removals SET completed_at = clock_timestamp(), files_kept = $2, problem = NULL WHERE event_id = $1;
