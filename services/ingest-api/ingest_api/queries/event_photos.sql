-- Only a newer fact overwrites, and of the photos of a deleted event nothing is known any more. A photo that was deleted here is hidden until its removal is told: what is put under its
-- key after that is another one.
-- name: record
INSERT INTO event_photos (id, event_id, version, s3_key, image_key, status, faces, confidence, code, detail, changed_at,
                          preview_etag, image_etag)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
WHERE NOT EXISTS (SELECT 1 FROM event_removals WHERE event_id = $2)
ON CONFLICT (id) DO UPDATE
SET version = excluded.version, s3_key = excluded.s3_key, image_key = excluded.image_key, status = excluded.status,
    faces = excluded.faces, confidence = excluded.confidence, code = excluded.code, detail = excluded.detail,
    changed_at = excluded.changed_at, preview_etag = excluded.preview_etag, image_etag = excluded.image_etag,
    hidden_at = CASE WHEN excluded.status = 'removed' THEN NULL ELSE event_photos.hidden_at END
WHERE event_photos.version < excluded.version;

-- Photos of which nothing was heard yet have no row: only those that are known to be gone are.
-- name: shown
SELECT id, s3_key, image_key, status <> 'removed' AND hidden_at IS NULL AS is_shown
FROM event_photos WHERE event_id = $1 AND id = ANY($2::uuid[]);

-- name: page
SELECT id, s3_key, image_key, status, faces, confidence, code, detail, changed_at FROM event_photos
WHERE event_id = $1 AND status <> 'removed' AND hidden_at IS NULL
  AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR id > $3)
ORDER BY id
LIMIT $4;

-- The last photo of every full part, and how many photos there are.
-- name: part_ends
SELECT id, photos FROM (
    SELECT id, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS photos FROM event_photos
    WHERE event_id = $1 AND status <> 'removed' AND hidden_at IS NULL
) AS counted
WHERE place % $2 = 0 OR place = photos
ORDER BY place;

-- name: by_ids
SELECT id, s3_key, image_key, status, faces, confidence, code, detail, changed_at FROM event_photos
WHERE event_id = $1 AND status <> 'removed' AND hidden_at IS NULL AND id = ANY($2::uuid[])
ORDER BY id;

-- name: files
SELECT s3_key, image_key, preview_etag, image_etag FROM event_photos
WHERE id = $2 AND event_id = $1 AND status <> 'removed' AND hidden_at IS NULL;

-- name: hide
UPDATE event_photos SET hidden_at = clock_timestamp()
WHERE id = $2 AND event_id = $1 AND status <> 'removed' AND hidden_at IS NULL
RETURNING s3_key, image_key, preview_etag, image_etag;

-- Until it is completed, no upload gets a name that its files have.
-- name: add_removal
INSERT INTO photo_removals (photo_id, event_id, object_keys, etags, removed_by, due_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6))
ON CONFLICT (photo_id) DO UPDATE
SET event_id = excluded.event_id, object_keys = excluded.object_keys, etags = excluded.etags, kept_keys = '{}',
    removed_by = excluded.removed_by, removed_at = clock_timestamp(), due_at = excluded.due_at, completed_at = NULL
RETURNING removed_at;

-- Of several replicas one works on a removal, and it comes up again if that one goes.
-- name: claim_removal
UPDATE photo_removals SET due_at = clock_timestamp() + make_interval(secs => $1)
WHERE photo_id = (
    SELECT photo_id FROM photo_removals WHERE completed_at IS NULL AND due_at <= statement_timestamp()
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING photo_id, event_id, object_keys, etags, removed_at;

-- name: removal
SELECT removed_at, completed_at, kept_keys FROM photo_removals WHERE event_id = $1 AND photo_id = $2;

-- A photo that came back and was deleted again has its id: what was promised since is not ended with what was promised before.
-- name: end_removal
DELETE FROM photo_removals WHERE photo_id = $1 AND removed_at = $2;

-- Never due again: a replica of a version that knows of no kept files would take them for files to remove.
-- name: end_removal_keeping
UPDATE photo_removals SET completed_at = clock_timestamp(), kept_keys = $3, due_at = 'infinity'
WHERE photo_id = $1 AND removed_at = $2;

-- name: remove_completed_removals
DELETE FROM photo_removals WHERE photo_id IN (
    SELECT photo_id FROM photo_removals WHERE completed_at < clock_timestamp() - make_interval(secs => $1)
    ORDER BY completed_at LIMIT $2
);
