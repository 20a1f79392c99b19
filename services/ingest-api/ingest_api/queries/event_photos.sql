-- Only a newer fact overwrites. A photo that was deleted here is hidden until its removal is told: what is put under its
-- key after that is another one.
-- name: record
INSERT INTO event_photos (id, event_id, version, s3_key, image_key, status, faces, confidence, code, detail, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO UPDATE
SET version = excluded.version, s3_key = excluded.s3_key, image_key = excluded.image_key, status = excluded.status,
    faces = excluded.faces, confidence = excluded.confidence, code = excluded.code, detail = excluded.detail,
    changed_at = excluded.changed_at,
    hidden_at = CASE WHEN excluded.status = 'removed' THEN NULL ELSE event_photos.hidden_at END
WHERE event_photos.version < excluded.version;

-- Photos of which nothing was heard yet have no row: only those that are known to be gone are.
-- name: shown
SELECT id, s3_key, image_key, status <> 'removed' AND hidden_at IS NULL AS is_shown
FROM event_photos WHERE event_id = $1 AND id = ANY($2::uuid[]);
