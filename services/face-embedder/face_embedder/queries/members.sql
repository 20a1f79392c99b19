-- The new face takes the place of the old one, with whatever is known of whose it is. Without a least similarity both are
-- of one content, and the place alone decides; embeddings of different packs are never compared.
-- name: carry
UPDATE members SET face_id = pair.new_id
FROM unnest($1::uuid[], $2::uuid[]) AS pair (old_id, new_id)
JOIN faces AS old ON old.face_id = pair.old_id
JOIN faces AS new ON new.face_id = pair.new_id
WHERE members.face_id = pair.old_id
  AND CASE WHEN (old.pack, old.pack_version) = (new.pack, new.pack_version)
           THEN $3::real IS NULL OR 1 - (old.embedding <=> new.embedding) >= $3
           ELSE $3::real IS NULL END;

-- name: add_missing
INSERT INTO members (face_id, event_id, photo_id)
SELECT face_id, event_id, photo_id FROM faces WHERE face_id = ANY ($1::uuid[])
ON CONFLICT (face_id) DO NOTHING;
