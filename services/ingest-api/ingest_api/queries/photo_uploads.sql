-- name: of_content
SELECT * FROM photo_uploads WHERE event_id = $1 AND sha256 = $2;

-- Of two that want the same name, or bring the same content, at once, one gets it: the later waits here for the earlier
-- one's commit and then adds nothing.
-- name: add
INSERT INTO photo_uploads (id, event_id, image_key, stem, sha256, mime_type, size_bytes, uploader, status, created_at, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
        CASE WHEN $9 = 'storing' THEN clock_timestamp() + make_interval(secs => $11) END)
ON CONFLICT DO NOTHING
RETURNING true;

-- Of several that store one content at once, the first tells of it.
-- name: finish
UPDATE photo_uploads SET status = 'stored', due_at = NULL WHERE id = $1 AND status = 'storing' RETURNING true;

-- name: is_stored
SELECT EXISTS (SELECT FROM photo_uploads WHERE id = $1 AND status = 'stored' AND sha256 IS NOT NULL);

-- The name stays given, and whoever was at it finds that it is lost.
-- name: forget_content
UPDATE photo_uploads SET sha256 = NULL, status = 'stored', due_at = NULL WHERE id = $1;

-- name: remove_unfinished
DELETE FROM photo_uploads WHERE id = $1 AND status = 'storing';

-- Of several replicas one looks, and it comes up again if that one goes.
-- name: claim_unfinished
UPDATE photo_uploads SET due_at = clock_timestamp() + make_interval(secs => $1)
WHERE id IN (
    SELECT id FROM photo_uploads WHERE status = 'storing' AND due_at <= statement_timestamp() ORDER BY due_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- Photos of an event whose previews are called like this, whatever their endings, as far as they are not gone, and whether
-- files of such a photo are still to leave the bucket: of one that is gone too, whose removal is tried again until it has
-- ended. A range, which any plan finds by the index: '/' is the sign behind '.', and no name has one. In it are longer
-- names too, of which this one is the beginning.
-- name: known_photos
SELECT coalesce(bool_or(hidden_at IS NOT NULL), false) OR EXISTS (
           SELECT FROM photo_removals, unnest(object_keys) AS leaving (key)
           WHERE completed_at IS NULL AND regexp_replace(leaving.key, '\.[^.]*$', '') IN ($2::text, $3::text)
       ) AS is_hidden,
       count(*) AS photos
FROM event_photos
WHERE event_id = $1 AND status <> 'removed'
  AND s3_key COLLATE "C" >= $2::text || '.' AND s3_key COLLATE "C" < $2::text || '/'
  AND regexp_replace(s3_key, '\.[^.]*$', '') = $2::text;

-- name: photo_id
SELECT id FROM event_photos
WHERE event_id = $1 AND status <> 'removed' AND hidden_at IS NULL AND image_key = $3
  AND s3_key COLLATE "C" >= $2::text || '.' AND s3_key COLLATE "C" < $2::text || '/'
LIMIT 1;

-- name: claim_key
INSERT INTO idempotency_keys (user_id, key, sha256, job_id, media_id) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT DO NOTHING
RETURNING true;
