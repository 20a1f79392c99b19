-- A photo whose faces are still to be found in this content, whether they may be kept, and which ones are searched.
-- name: due
SELECT photo.*, NOT event.is_deleted AND coalesce(event.faces_expire_at > clock_timestamp(), true) AS keeps_faces,
       event.pack AS event_pack, event.pack_version AS event_pack_version
FROM photos AS photo JOIN events AS event USING (event_id)
WHERE photo.photo_id = $1 AND photo.generation = $2 AND photo.status = 'pending';

-- A plan that was made when there were few photos reads all those of an event, and compares each with every key of a batch.
-- name: plan_anew
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: lock_keys
SELECT * FROM photos WHERE event_id = $1 AND s3_key = ANY ($2::text[]) ORDER BY s3_key FOR UPDATE;

-- name: of_id
SELECT * FROM photos WHERE photo_id = $1;

-- name: of_key
SELECT * FROM photos WHERE event_id = $1 AND s3_key = $2;

-- name: of_stem
SELECT * FROM photos WHERE event_id = $1 AND stem = $2;

-- Photos by the stems of their names, and whether a task has found their previews.
-- name: lock_stems
SELECT photo.*, EXISTS (SELECT 1 FROM task_photos AS found
                        WHERE found.task_id = $3 AND found.photo_id = photo.photo_id) AS is_found
FROM photos AS photo WHERE event_id = $1 AND stem = ANY ($2::text[]) ORDER BY s3_key FOR UPDATE OF photo;

-- name: lock_original
SELECT * FROM photos WHERE event_id = $1 AND image_key = $2 ORDER BY s3_key FOR UPDATE;

-- name: add
INSERT INTO photos (photo_id, event_id, s3_key, stem, image_key, preview_etag, original_etag, makes_preview)
SELECT photo.photo_id, $1, photo.s3_key, photo.stem, photo.image_key, photo.preview_etag, photo.original_etag,
       photo.makes_preview
FROM jsonb_to_recordset($2) AS photo (
    photo_id uuid, s3_key text, stem text, image_key text, preview_etag text, original_etag text, makes_preview boolean)
RETURNING *;

-- The preview has another content, or is tried again: what was made here stays a made one only with its own content.
-- name: renew
UPDATE photos
SET generation = generation + 1, version = version + 1, status = 'pending', code = NULL, detail = NULL,
    makes_preview = makes_preview AND preview_etag IS NOT DISTINCT FROM renewed.etag, preview_etag = renewed.etag,
    changed_at = clock_timestamp()
FROM unnest($1::uuid[], $2::text[]) AS renewed (photo_id, etag)
WHERE photos.photo_id = renewed.photo_id
RETURNING photos.*;

-- The preview has to be made, of an original with this content.
-- name: make
UPDATE photos
SET generation = generation + 1, version = version + 1, status = 'pending', code = NULL, detail = NULL,
    makes_preview = true, preview_etag = NULL, image_key = made.image_key, original_etag = made.etag,
    changed_at = clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS made (photo_id, image_key, etag)
WHERE photos.photo_id = made.photo_id
RETURNING photos.*;

-- Of what a preview was made is remembered also while the original is not there.
-- name: link
UPDATE photos
SET image_key = linked.image_key, original_etag = coalesce(linked.etag, original_etag), version = version + 1,
    changed_at = clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS linked (photo_id, image_key, etag)
WHERE photos.photo_id = linked.photo_id
  AND (photos.image_key, photos.original_etag)
      IS DISTINCT FROM (linked.image_key, coalesce(linked.etag, photos.original_etag))
RETURNING photos.*;

-- name: note_made
UPDATE photos SET made_sha256 = $3 WHERE photo_id = $1 AND generation = $2 RETURNING true;

-- The result of an older content, or of a photo that is gone, is passed over.
-- name: record
UPDATE photos
SET status = $3, faces = $4, confidence = $5, code = $6, detail = $7, preview_etag = coalesce($8, preview_etag),
    original_etag = coalesce($9, original_etag), makes_preview = $10, pack = coalesce($11, pack),
    pack_version = coalesce($12, pack_version), version = version + 1, changed_at = clock_timestamp()
WHERE photo_id = $1 AND generation = $2 AND status <> 'removed'
RETURNING *;

-- Nothing that is under way for an older generation brings a removed photo back.
-- name: remove
UPDATE photos
SET status = 'removed', generation = generation + 1, version = version + 1, faces = 0, confidence = 0, code = NULL,
    detail = NULL, preview_etag = NULL, changed_at = clock_timestamp()
WHERE photo_id = $1
RETURNING *;

-- Without their faces they count as failed, so that a sync after a longer retention looks at them again.
-- name: forget
UPDATE photos
SET status = 'failed', code = $2, detail = $3, faces = 0, confidence = 0, version = version + 1,
    changed_at = clock_timestamp()
WHERE photo_id = ANY ($1::uuid[])
RETURNING *;

-- Photos with faces of an event that may have none any more.
-- name: to_forget
SELECT photo.photo_id FROM photos AS photo JOIN events AS event USING (event_id)
WHERE photo.faces > 0 AND (event.is_deleted OR event.faces_expire_at <= clock_timestamp())
ORDER BY photo.photo_id
LIMIT $1
FOR UPDATE OF photo SKIP LOCKED;
