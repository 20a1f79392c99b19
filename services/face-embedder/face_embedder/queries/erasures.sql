-- Whoever replaces the faces of one of them waits, and sees afterwards what was erased.
-- name: lock_photos
SELECT photo_id FROM photos WHERE event_id = $1 AND photo_id = ANY ($2::uuid[]) ORDER BY photo_id FOR UPDATE;

-- name: note
INSERT INTO erased_faces (erasure_id, event_id, photo_id, preview_etag, box, place)
SELECT $1, photo.event_id, photo.photo_id, photo.preview_etag, erased.box,
       CASE WHEN photo.width_px > 0 AND photo.height_px > 0
            THEN ARRAY[erased.box[1] / photo.width_px, erased.box[2] / photo.height_px,
                       erased.box[3] / photo.width_px, erased.box[4] / photo.height_px] END
FROM jsonb_to_recordset($2) AS erased (photo_id uuid, box real[]) JOIN photos AS photo USING (photo_id)
ON CONFLICT DO NOTHING;

-- name: faces
SELECT face_id, photo_id, box, pack, pack_version FROM faces WHERE photo_id = ANY ($1::uuid[]);

-- name: remove
DELETE FROM faces WHERE face_id = ANY ($1::uuid[]);

-- A photo whose faces are still looked for stays one. Those of another pack, which may take their place, don't count.
-- name: recount
UPDATE photos
SET faces = kept.faces, confidence = kept.confidence, version = version + 1, changed_at = clock_timestamp(),
    status = CASE WHEN status = 'indexed' AND kept.faces = 0 THEN 'no_face_detected' ELSE status END
FROM (SELECT photo.photo_id, count(face.face_id)::integer AS faces, coalesce(max(face.score), 0) AS confidence
      FROM photos AS photo LEFT JOIN faces AS face
           ON face.photo_id = photo.photo_id
              AND (photo.pack IS NULL OR (face.pack, face.pack_version) = (photo.pack, photo.pack_version))
      WHERE photo.photo_id = ANY ($1::uuid[]) GROUP BY photo.photo_id) AS kept
WHERE photos.photo_id = kept.photo_id
RETURNING photos.*;

-- name: note_size
UPDATE photos SET width_px = $2, height_px = $3 WHERE photo_id = $1;

-- Places on a photo, whatever its content is now, and on any other photo of the event with the same content.
-- name: places
SELECT box, place FROM erased_faces WHERE photo_id = $1 OR (event_id = $2 AND preview_etag = $3);
