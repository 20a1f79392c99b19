-- name: media
SELECT * FROM media WHERE id = $1;

-- name: list_media
SELECT * FROM media
WHERE ($1::uuid IS NULL OR id < $1)
  AND ($2::text IS NULL OR entity_type = $2)
  AND ($3::text IS NULL OR entity_id = $3)
  AND ($4::text IS NULL OR status = $4)
  AND ($5::text IS NULL OR storage_status = $5)
  AND (deleted_at IS NOT NULL) = $6
  AND ($7::text IS NULL OR filename ILIKE $7 OR alt ILIKE $7 OR title ILIKE $7)
ORDER BY id DESC
LIMIT $8;

-- name: describe
UPDATE media
SET alt = CASE WHEN $2 THEN $3 ELSE alt END,
    title = CASE WHEN $4 THEN $5 ELSE title END,
    updated_at = clock_timestamp()
WHERE id = $1
RETURNING *;

-- name: record_processed
-- Only for the revision that is current: the outcome of a file that was replaced meanwhile must not come back.
UPDATE media
SET status = 'completed', width_px = $3, height_px = $4, original = $5, variants = $6, placeholder = $7,
    storage_status = $8, on_disk = $9, in_bucket = $10, updated_at = clock_timestamp()
WHERE id = $1 AND revision = $2
RETURNING private;

-- name: record_failed
UPDATE media SET status = 'failed', updated_at = clock_timestamp()
WHERE id = $1 AND revision = $2 AND status = 'processing';

-- name: record_resumed
UPDATE media SET status = 'processing', updated_at = clock_timestamp()
WHERE id = $1 AND revision = $2 AND status = 'failed';
