-- name: add
INSERT INTO face_erasures (id, event_id, asked_by, faces) VALUES ($1, $2, $3, $4);

-- One that nobody confirmed in time is over.
-- name: get
SELECT * FROM face_erasures
WHERE id = $1 AND (confirmed_at IS NOT NULL OR asked_at > clock_timestamp() - make_interval(secs => $2));

-- Whoever confirms an erasure, or completes it, holds its row until the commit.
-- name: lock
SELECT * FROM face_erasures
WHERE id = $1 AND (confirmed_at IS NOT NULL OR asked_at > clock_timestamp() - make_interval(secs => $2))
FOR UPDATE;

-- name: confirm
UPDATE face_erasures SET faces = $2, confirmed_at = clock_timestamp() WHERE id = $1 RETURNING *;

-- name: complete
UPDATE face_erasures
SET faces = '[]', completed_at = $2, faces_erased = $3, receipt = $4, signature = $5, public_key = $6
WHERE id = $1;

-- What searches of the event have found may be what was erased.
-- name: forget_results
DELETE FROM face_search_results WHERE event_id = $1;

-- name: remove_unconfirmed
DELETE FROM face_erasures WHERE confirmed_at IS NULL AND asked_at < clock_timestamp() - make_interval(secs => $1);
