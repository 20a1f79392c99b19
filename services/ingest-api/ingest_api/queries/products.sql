-- Whoever changes a product, its variants, its images or the queue of its changes holds this row until the commit.
-- name: lock
SELECT 1 FROM products WHERE id = $1 FOR UPDATE;

-- name: product
SELECT id, name, version, is_hidden, created_at, updated_at FROM products WHERE id = $1;

-- name: variants
SELECT product_id, id, weight, other_weight, is_active, is_hidden FROM product_variants
WHERE product_id = ANY($1::uuid[])
ORDER BY id;

-- name: newest
SELECT id, name, version, is_hidden, created_at, updated_at FROM products
WHERE NOT is_hidden AND ($1::uuid IS NULL OR id < $1) AND ($3::text IS NULL OR strpos(lower(name), lower($3)) > 0)
ORDER BY id DESC
LIMIT $2;

-- name: names
SELECT id, name FROM products WHERE id = ANY($1::uuid[]) AND NOT is_hidden;

-- name: add_product
INSERT INTO products (id, name) VALUES ($1, $2);

-- name: touch_product
UPDATE products SET name = coalesce($2, name), is_hidden = coalesce($3, is_hidden), version = version + 1,
                    updated_at = clock_timestamp()
WHERE id = $1;

-- name: remove_product
DELETE FROM products WHERE id = $1;

-- name: add_variant
INSERT INTO product_variants (id, product_id, weight, is_active, made_by_plan) VALUES ($1, $2, $3, $4, $5);

-- A variant that somebody changes is theirs, whoever made it.
-- name: set_variant
UPDATE product_variants
SET is_active = coalesce($2, is_active), is_hidden = coalesce($3, is_hidden), other_weight = $4, made_by_plan = NULL
WHERE id = $1;

-- name: swap_weight
UPDATE product_variants SET weight = other_weight, other_weight = weight WHERE id = $1 AND other_weight IS NOT NULL;

-- name: remove_variant
DELETE FROM product_variants WHERE id = $1;

-- Only as long as nobody uses it: no image is in it, comes from it or goes to it, and no change waits that names it.
-- name: remove_made_variant
DELETE FROM product_variants AS variant
WHERE id = $1 AND made_by_plan = $2 AND NOT is_active
  AND NOT EXISTS (SELECT FROM product_images AS image
                  WHERE image.product_id = variant.product_id
                    AND (image.variant_id = variant.id OR (image.other_file->>'variant_id')::uuid = variant.id))
  AND NOT EXISTS (SELECT FROM product_changes AS change
                  WHERE change.product_id = variant.product_id AND change.status IN ('waiting', 'active')
                    AND (change.request->>'variant_id')::uuid = variant.id)
RETURNING id;

-- name: images
SELECT image.id, image.product_id, image.variant_id, variant.weight, image.image_type, image.object_key,
       image.mime_type, image.size_bytes, image.sha256, image.on_disk, image.version, image.change_id, image.is_hidden,
       image.missing_since IS NOT NULL AS is_missing
FROM product_images AS image JOIN product_variants AS variant ON variant.id = image.variant_id
WHERE image.product_id = ANY($1::uuid[])
ORDER BY image.id;

-- name: image
SELECT image.id, image.product_id, image.variant_id, variant.weight, image.image_type, image.object_key,
       image.mime_type, image.size_bytes, image.sha256, image.on_disk, image.version, image.change_id, image.is_hidden,
       image.missing_since IS NOT NULL AS is_missing
FROM product_images AS image JOIN product_variants AS variant ON variant.id = image.variant_id
WHERE image.id = $1;

-- name: images_in_change
SELECT image.id, image.product_id, image.variant_id, variant.weight, image.image_type, image.object_key,
       image.mime_type, image.size_bytes, image.sha256, image.on_disk, image.version, image.change_id, image.is_hidden,
       image.missing_since IS NOT NULL AS is_missing
FROM product_images AS image JOIN product_variants AS variant ON variant.id = image.variant_id
WHERE image.change_id = $1
ORDER BY image.id;

-- name: image_of_key
SELECT image.id, image.product_id, image.variant_id, variant.weight, image.image_type, image.object_key,
       image.mime_type, image.size_bytes, image.sha256, image.on_disk, image.version, image.change_id, image.is_hidden,
       image.missing_since IS NOT NULL AS is_missing
FROM product_images AS image JOIN product_variants AS variant ON variant.id = image.variant_id
WHERE image.object_key = $1;

-- name: add_image
INSERT INTO product_images (id, product_id, variant_id, image_type, object_key, mime_type, size_bytes, sha256, on_disk,
                            version, change_id, is_hidden)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- A change takes settled records alone; the other files are those that the records switch to.
-- name: take_images
UPDATE product_images AS image
SET change_id = $1, is_hidden = $2, version = version + 1, other_file = taken.other_file
FROM jsonb_to_recordset($3) AS taken (id uuid, other_file jsonb)
WHERE image.id = taken.id AND image.change_id IS NULL
RETURNING image.id;

-- name: swap_files
UPDATE product_images
SET version = version + 1,
    missing_since = NULL,
    variant_id = (other_file->>'variant_id')::uuid,
    image_type = other_file->>'image_type',
    object_key = other_file->>'object_key',
    mime_type = other_file->>'mime_type',
    size_bytes = (other_file->>'size_bytes')::bigint,
    sha256 = other_file->>'sha256',
    on_disk = (other_file->>'on_disk')::boolean,
    other_file = jsonb_build_object(
        'variant_id', variant_id, 'image_type', image_type, 'object_key', object_key, 'mime_type', mime_type,
        'size_bytes', size_bytes, 'sha256', sha256, 'on_disk', on_disk)
WHERE change_id = $1 AND other_file IS NOT NULL
RETURNING id;

-- name: settle_images
UPDATE product_images SET change_id = NULL, is_hidden = false, other_file = NULL, version = version + 1
WHERE id = ANY($1::uuid[]);

-- name: refresh_image
UPDATE product_images
SET size_bytes = $2, sha256 = $3, mime_type = coalesce($4, mime_type), on_disk = coalesce($5, on_disk),
    version = version + 1, missing_since = NULL
WHERE id = $1;

-- name: mark_image
UPDATE product_images SET missing_since = CASE WHEN $2 THEN coalesce(missing_since, clock_timestamp()) END
WHERE id = $1;

-- name: remove_images
DELETE FROM product_images WHERE id = ANY($1::uuid[]);

-- name: keep_removed_image
INSERT INTO removed_product_images (image_id, product_id, record) VALUES ($1, $2, $3)
ON CONFLICT (image_id) DO UPDATE SET record = excluded.record, removed_at = clock_timestamp();

-- name: removed_image
SELECT record FROM removed_product_images WHERE image_id = $1 AND product_id = $2;

-- name: forget_removed_image
DELETE FROM removed_product_images WHERE image_id = $1;

-- name: is_awaited
SELECT EXISTS (SELECT 1 FROM product_images WHERE product_id = $1 AND other_file->>'object_key' = $2);

-- name: prune_removed_images
DELETE FROM removed_product_images WHERE image_id IN (
    SELECT image_id FROM removed_product_images
    WHERE removed_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2
);

-- The changes of a product's files.

-- name: add_change
INSERT INTO product_changes (id, product_id, kind, request, requested_by) VALUES ($1, $2, $3, $4, $5);

-- name: change
SELECT * FROM product_changes WHERE id = $1;

-- name: change_of_task
SELECT * FROM product_changes WHERE task_id = $1;

-- name: next_change
SELECT * FROM product_changes WHERE product_id = $1 AND status = 'waiting' ORDER BY id LIMIT 1;

-- name: queue
SELECT count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'waiting') AS waiting
FROM product_changes
WHERE product_id = $1 AND status IN ('active', 'waiting');

-- name: move_change
UPDATE product_changes
SET status = 'active', version = version + 1, work = $2, stage = $3, stage_part = $4, task_id = $5,
    error_status = $6, error_code = $7, error_detail = $8, error_step = $9,
    reminded = 0, remind_at = clock_timestamp() + make_interval(secs => $10)
WHERE id = $1;

-- name: end_change
WITH ended AS (
    UPDATE product_changes
    SET status = $2, version = version + 1, result = $3, error_status = $4, error_code = $5, error_detail = $6,
        error_step = $7, work = NULL, stage = NULL, stage_part = NULL, task_id = NULL, remind_at = NULL,
        finished_at = clock_timestamp()
    WHERE id = $1
    RETURNING id
)
SELECT pg_notify('notices_' || current_schema(), id::text) FROM ended;

-- Twice as late each time: while the stores are away for hours nobody needs to be asked every minute.
-- name: due_changes
UPDATE product_changes
SET reminded = reminded + 1, remind_at = clock_timestamp() + make_interval(secs => $1 * 2 ^ least(reminded + 1, 6))
WHERE id IN (SELECT id FROM product_changes WHERE status = 'active' AND remind_at < statement_timestamp()
             ORDER BY remind_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: prune_changes
DELETE FROM product_changes WHERE id IN (
    SELECT id FROM product_changes WHERE finished_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2
);

-- name: known_staging_keys
SELECT request->'upload'->>'staging_key' FROM product_changes
WHERE status IN ('waiting', 'active') AND request->'upload'->>'staging_key' = ANY($1::text[]);
