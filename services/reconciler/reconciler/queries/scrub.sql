-- name: begin
INSERT INTO scrubs (name) VALUES ($1) ON CONFLICT DO NOTHING;

-- One process scrubs at a time: whoever reads holds the turn for so long.
-- name: claim
UPDATE scrubs SET due_at = clock_timestamp() + make_interval(secs => $2)
WHERE name = $1 AND due_at <= statement_timestamp()
RETURNING cursor;

-- name: next
SELECT object_key, size_bytes, sha256, on_disk, in_bucket, owner_id, record_id, weight, image_type, mime_type, known_at
FROM (
    SELECT object_key, size_bytes, sha256, on_disk, true AS in_bucket, product_id AS owner_id, image_id AS record_id,
           weight, image_type, mime_type, known_at
    FROM product_images
    WHERE object_key > $1 AND is_settled AND NOT is_removed AND sha256 IS NOT NULL
    UNION ALL
    SELECT object_key, size_bytes, sha256, on_disk, in_bucket, media_id, media_id, NULL, NULL, mime_type, known_at
    FROM media_files JOIN media USING (media_id)
    WHERE object_key > $1 AND superseded_at IS NULL
) AS recorded
ORDER BY object_key LIMIT $2;

-- name: end_turn
UPDATE scrubs
SET cursor = $2, rounds = rounds + ($2 = '')::integer, due_at = clock_timestamp() + make_interval(secs => $3)
WHERE name = $1;

-- name: known_lost
SELECT DISTINCT object_key FROM lost_files WHERE object_key = ANY ($1::text[]);

-- What is good again, is gone, holds other bytes or should hold others is another loss, or none.
-- name: forget_lost
DELETE FROM lost_files
WHERE object_key = $1
  AND (wanted_sha256 <> $2 OR (place, held_sha256) NOT IN (SELECT * FROM unnest($3::text[], $4::text[])));

-- name: know_lost
INSERT INTO lost_files (object_key, place, wanted_sha256, held_sha256)
SELECT $1, place, $2, held_sha256 FROM unnest($3::text[], $4::text[]) AS held (place, held_sha256)
ON CONFLICT DO NOTHING
RETURNING place;

-- name: prune_lost
DELETE FROM lost_files
WHERE NOT EXISTS (SELECT 1 FROM product_images AS image
                  WHERE image.object_key = lost_files.object_key AND NOT image.is_removed)
  AND NOT EXISTS (SELECT 1 FROM media_files AS file
                  WHERE file.object_key = lost_files.object_key AND file.superseded_at IS NULL);
