-- name: add
-- Nothing is added, and nothing comes back, while $13 of them wait already, or when the Idempotency-Key was used before:
-- of two requests with one key, the later waits here for the earlier one's commit.
WITH room AS (
    SELECT WHERE (SELECT count(*) FROM (SELECT FROM direct_uploads WHERE status = 'waiting' LIMIT $13) AS waiting) < $13
),
claimed AS (
    INSERT INTO idempotency_keys (user_id, key, sha256, job_id, media_id)
    SELECT $3, $17, $18, $1, $2 FROM room WHERE $17::text IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING true
)
INSERT INTO direct_uploads (id, media_id, uploader, filename, mime_type, size_bytes, sha256, entity_type, entity_id,
                            alt, title, storage_strategy, traceparent, created_at, expires_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14, $15, $16
FROM room
WHERE $17::text IS NULL OR EXISTS (SELECT FROM claimed)
RETURNING true;

-- name: get
SELECT * FROM direct_uploads WHERE id = $1;

-- name: newest
SELECT * FROM direct_uploads
WHERE status <> 'received' AND ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR status = $2)
ORDER BY id DESC
LIMIT $3;

-- name: finish
-- The condition lets one of two that hear of the same object go on: the later waits for the earlier one's commit and
-- then changes nothing.
UPDATE direct_uploads
SET status = $2, error_code = $3, error_detail = $4, finished_at = clock_timestamp()
WHERE id = $1 AND status = 'waiting'
RETURNING true;

-- name: object_removed
UPDATE direct_uploads SET object_removed_at = clock_timestamp() WHERE id = $1 AND status <> 'waiting';

-- name: to_remove
SELECT * FROM direct_uploads
WHERE status <> 'waiting' AND object_removed_at IS NULL
ORDER BY finished_at
LIMIT $1;

-- name: expired
SELECT * FROM direct_uploads
WHERE status = 'waiting' AND expires_at < statement_timestamp() - make_interval(secs => $1)
ORDER BY expires_at
LIMIT $2;

-- name: remove_finished
-- Not while the file may still be sent again: an object that nobody knows would be left.
DELETE FROM direct_uploads WHERE id IN (
    SELECT id FROM direct_uploads
    WHERE object_removed_at IS NOT NULL AND finished_at < statement_timestamp() - make_interval(secs => $1)
      AND expires_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2
)
RETURNING id;
