-- A lower version that comes later changes nothing.

-- name: know_product
INSERT INTO products (product_id, version, name, is_deleted) VALUES ($1, $2, $3, $4)
ON CONFLICT (product_id) DO UPDATE
SET version = excluded.version, name = excluded.name, is_deleted = excluded.is_deleted, known_at = clock_timestamp()
WHERE products.version < excluded.version;

-- name: know_image
INSERT INTO product_images (image_id, product_id, version, variant_id, weight, image_type, object_key, mime_type,
                            size_bytes, sha256, on_disk, is_settled, is_removed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (image_id) DO UPDATE
SET product_id = excluded.product_id, version = excluded.version, variant_id = excluded.variant_id,
    weight = excluded.weight, image_type = excluded.image_type, object_key = excluded.object_key,
    mime_type = excluded.mime_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
    on_disk = excluded.on_disk, is_settled = excluded.is_settled, is_removed = excluded.is_removed,
    known_at = clock_timestamp()
WHERE product_images.version < excluded.version;

-- A new revision counts from its processing on; the same one again is older than what was told of its places since.
-- name: know_processed
INSERT INTO media (media_id, revision, on_disk, in_bucket, copy_waits)
SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM deleted_media WHERE deleted_media.media_id = $1)
ON CONFLICT (media_id) DO UPDATE
SET revision = excluded.revision, on_disk = excluded.on_disk, in_bucket = excluded.in_bucket,
    copy_waits = excluded.copy_waits, placed_at = NULL, known_at = clock_timestamp()
WHERE media.revision < excluded.revision
RETURNING media_id;

-- name: know_places
INSERT INTO media (media_id, revision, on_disk, in_bucket, placed_at, copy_waits)
SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM deleted_media WHERE deleted_media.media_id = $1)
ON CONFLICT (media_id) DO UPDATE
SET revision = excluded.revision, on_disk = excluded.on_disk, in_bucket = excluded.in_bucket,
    copy_waits = excluded.copy_waits, placed_at = excluded.placed_at, known_at = clock_timestamp()
WHERE media.revision < excluded.revision
   OR (media.revision = excluded.revision AND (media.placed_at IS NULL OR media.placed_at < excluded.placed_at))
RETURNING media_id;

-- name: forget_files
DELETE FROM media_files WHERE media_id = $1 AND revision >= $2;

-- name: supersede_files
UPDATE media_files SET superseded_at = clock_timestamp() WHERE media_id = $1 AND superseded_at IS NULL;

-- A newer revision may name a file of an older one.
-- name: know_files
INSERT INTO media_files (media_id, revision, object_key, mime_type, size_bytes, sha256)
SELECT DISTINCT ON (file.key) $1, $2::integer, file.key, file.mime_type, file.size_bytes, file.sha256
FROM jsonb_to_recordset($3) AS file (key text, mime_type text, size_bytes bigint, sha256 text)
ON CONFLICT (media_id, object_key) DO UPDATE
SET revision = excluded.revision, mime_type = excluded.mime_type, size_bytes = excluded.size_bytes,
    sha256 = excluded.sha256, superseded_at = NULL;

-- name: product_ids
SELECT product_id FROM products WHERE NOT is_deleted ORDER BY product_id;

-- name: is_product
SELECT EXISTS (SELECT 1 FROM products WHERE product_id = $1 AND NOT is_deleted);

-- name: now
SELECT clock_timestamp();

-- What was removed after $1 is given too, as such.
-- name: images_of_product
SELECT image_id, product_id, weight, image_type, object_key, mime_type, size_bytes, sha256, on_disk, is_settled,
       is_removed, known_at
FROM product_images
WHERE product_id = $2 AND (NOT is_removed OR known_at >= $1)
ORDER BY object_key;

-- name: all_images
SELECT image_id, product_id, weight, image_type, object_key, mime_type, size_bytes, sha256, on_disk, is_settled,
       is_removed, known_at
FROM product_images
WHERE NOT is_removed OR known_at >= $1
ORDER BY object_key;

-- What was superseded after $1 is given too, as removed.
-- name: all_media_files
SELECT media_id, object_key, mime_type, size_bytes, sha256, on_disk, in_bucket, copy_waits, known_at,
       superseded_at IS NOT NULL AS is_removed
FROM media_files JOIN media USING (media_id)
WHERE superseded_at IS NULL OR superseded_at >= $1
ORDER BY object_key;

-- Whether any record wants the key in the bucket, or with $2 on the disk; with $3, whether it wants these bytes there.
-- name: is_referenced
SELECT EXISTS (SELECT 1 FROM product_images
               WHERE object_key = $1 AND NOT is_removed AND (on_disk OR NOT $2)
                 AND ($3::text IS NULL OR sha256 IS NULL OR sha256 = $3))
    OR EXISTS (SELECT 1 FROM media_files JOIN media USING (media_id)
               WHERE object_key = $1 AND superseded_at IS NULL AND CASE WHEN $2 THEN on_disk ELSE in_bucket OR copy_waits END
                 AND ($3::text IS NULL OR sha256 = $3));

-- name: prune_superseded_files
DELETE FROM media_files WHERE superseded_at < statement_timestamp() - make_interval(secs => $1);

-- name: prune_removed_images
DELETE FROM product_images WHERE is_removed AND known_at < statement_timestamp() - make_interval(secs => $1);

-- name: note_deleted
INSERT INTO deleted_media (media_id, deletion_id, keeps_bucket)
SELECT media_id, deletion_id, keeps_bucket
FROM unnest($1::uuid[], $2::uuid[], $3::boolean[]) AS deleted (media_id, deletion_id, keeps_bucket)
ORDER BY media_id
ON CONFLICT DO NOTHING;

-- name: forget_media
WITH gone_files AS (DELETE FROM media_files WHERE media_id = ANY($1::uuid[]) RETURNING media_id),
gone_media AS (DELETE FROM media WHERE media_id = ANY($1::uuid[]) RETURNING media_id)
SELECT media_id, count(*) AS records
FROM (SELECT media_id FROM gone_files UNION ALL SELECT media_id FROM gone_media) AS gone
GROUP BY media_id;

-- name: complete_deletions
UPDATE deleted_media SET completed_at = clock_timestamp()
WHERE media_id = ANY($1::uuid[]) AND completed_at IS NULL;

-- Whether files of a medium may rightly lie where no record names them: they are being removed, were a moment ago when a
-- listing may have been made, or are kept in the bucket.
-- name: is_deletion_under_way
SELECT EXISTS (SELECT FROM deleted_media
               WHERE media_id = $1 AND (completed_at IS NULL OR completed_at >= $2 OR (keeps_bucket AND $3)));

-- name: prune_deleted
DELETE FROM deleted_media
WHERE NOT keeps_bucket AND completed_at IS NOT NULL AND known_at < statement_timestamp() - make_interval(secs => $1);
