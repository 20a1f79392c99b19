-- Media that match the filters of a list, for calls that act on all of them.

-- name: count
-- $8 is the pattern of $9, whose pieces say which rows can match at all.
SELECT count(*), statement_timestamp() AS counted_at FROM (
    SELECT FROM media
    WHERE id < $1
      AND ($2::text IS NULL OR entity_type = $2)
      AND ($3::text IS NULL OR entity_id = $3)
      AND ($4::text IS NULL OR status = $4)
      AND status <> ALL($5::text[])
      AND ($6::text IS NULL OR storage_status = $6)
      AND (deleted_at IS NOT NULL) = $7 AND deletion_id IS NULL
      AND ($8::text IS NULL OR filename ILIKE $8 OR alt ILIKE $8 OR title ILIKE $8)
      AND ($9::text IS NULL OR pieces_of(filename, alt, title) @> pieces_of($9))
    LIMIT $10
) AS found;

-- name: window_end
-- How far a page that looks for a text looks at most: it would find what is rare only at the end of the table.
SELECT id FROM media
WHERE id > $1 AND id < $2
  AND ($3::text IS NULL OR entity_type = $3)
  AND ($4::text IS NULL OR entity_id = $4)
  AND ($5::text IS NULL OR status = $5)
  AND status <> ALL($6::text[])
  AND ($7::text IS NULL OR storage_status = $7)
  AND (deleted_at IS NOT NULL) = $8 AND deletion_id IS NULL
ORDER BY id
OFFSET $9 LIMIT 1;

-- name: page
-- **What matched at the moment $11 is what is found**: nothing that came later, and nothing of which that can't be told
-- any more. What a medium is of never changes; whether it is deleted is known with its time, and of anything else ($12)
-- it is known only that it has not changed since.
SELECT id FROM media
WHERE id > $1 AND id < $2 AND id <= $3
  AND ($4::text IS NULL OR entity_type = $4)
  AND ($5::text IS NULL OR entity_id = $5)
  AND ($6::text IS NULL OR status = $6)
  AND status <> ALL($7::text[])
  AND ($8::text IS NULL OR storage_status = $8)
  AND (deleted_at IS NOT NULL) = $9 AND deletion_id IS NULL
  AND ($10::text IS NULL OR filename ILIKE $10 OR alt ILIKE $10 OR title ILIKE $10)
  AND created_at <= $11
  AND (updated_at <= $11
       OR (NOT $12::boolean
           AND CASE WHEN $9 THEN deleted_at <= $11
                    ELSE NOT EXISTS (SELECT FROM media_changes AS change
                                     WHERE change.media_id = media.id AND what = 'restored' AND happened_at > $11)
               END))
ORDER BY id
LIMIT $13;
