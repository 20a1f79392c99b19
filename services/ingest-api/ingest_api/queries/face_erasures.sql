-- name: add
INSERT INTO face_erasures (id, event_id, asked_by, gallery_id, secret_hash, consent_version, faces, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8))
RETURNING *;

-- One that nobody confirmed in time is over.
-- name: get
SELECT * FROM face_erasures WHERE id = $1 AND (confirmed_at IS NOT NULL OR expires_at > clock_timestamp());

-- name: by_secret
SELECT * FROM face_erasures
WHERE id = $1 AND secret_hash = $2 AND (confirmed_at IS NOT NULL OR expires_at > clock_timestamp());

-- Whoever decides on an erasure, or completes it, holds its row until the commit.
-- name: lock
SELECT * FROM face_erasures WHERE id = $1 AND (confirmed_at IS NOT NULL OR expires_at > clock_timestamp())
FOR UPDATE;

-- What nobody has decided on: of guests, and what an account has found in their place.
-- name: requested
SELECT * FROM face_erasures
WHERE event_id = $1 AND (gallery_id IS NOT NULL OR (asked_by = $4 AND faces <> '[]'))
  AND confirmed_at IS NULL AND refused_at IS NULL
  AND expires_at > clock_timestamp() AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3;

-- name: decided
SELECT * FROM face_erasures
WHERE event_id = $1
  AND ((gallery_id IS NOT NULL AND refused_at IS NOT NULL)
    OR ((gallery_id IS NOT NULL OR asked_by = $3) AND confirmed_at IS NOT NULL))
ORDER BY id DESC
LIMIT $2;

-- name: waiting_of_gallery
SELECT count(*) FROM face_erasures
WHERE event_id = $1 AND gallery_id = $2 AND confirmed_at IS NULL AND refused_at IS NULL
  AND expires_at > clock_timestamp();

-- name: confirm
UPDATE face_erasures SET faces = $2, decided_by = $3, confirmed_at = clock_timestamp() WHERE id = $1 RETURNING *;

-- Kept for a while without its faces, so that the guest reads of it.
-- name: refuse
UPDATE face_erasures
SET faces = '[]', decided_by = $2, refused_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1
RETURNING *;

-- name: complete
UPDATE face_erasures
SET faces = '[]', completed_at = $2, faces_erased = $3, receipt = $4, signature = $5, public_key = $6
WHERE id = $1;

-- What searches of the event have found may be what was erased.
-- name: forget_results
DELETE FROM face_search_results WHERE event_id = $1;

-- name: remove_unconfirmed
-- The condition again in the outer statement: one that is refused in this moment stays, to be read.
DELETE FROM face_erasures WHERE confirmed_at IS NULL AND expires_at < statement_timestamp() AND id IN (
    SELECT id FROM face_erasures WHERE confirmed_at IS NULL AND expires_at < statement_timestamp()
    ORDER BY expires_at
    LIMIT $1
);
