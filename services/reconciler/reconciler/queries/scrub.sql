-- name: begin
INSERT INTO scrubs (name) VALUES ($1) ON CONFLICT DO NOTHING;

-- One process scrubs at a time: whoever reads holds the turn for so long.
-- name: claim
UPDATE scrubs SET due_at = clock_timestamp() + make_interval(secs => $2)
WHERE name = $1 AND due_at <= clock_timestamp()
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
