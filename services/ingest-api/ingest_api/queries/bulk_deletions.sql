-- name: unknown_media
SELECT wanted.id FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position)
WHERE NOT EXISTS (SELECT FROM media WHERE media.id = wanted.id)
ORDER BY wanted.position;

-- name: count_selected
-- What was uploaded after the call is no part of the selection: ids are ordered by time.
SELECT count(*) FROM media
WHERE id < $1 AND (deleted_at IS NOT NULL) = $2 AND deletion_id IS NULL
  AND ($3::text IS NULL OR entity_type = $3)
  AND ($4::text IS NULL OR entity_id = $4)
  AND ($5::text IS NULL OR storage_status = $5);

-- name: add_parent
INSERT INTO bulk_jobs (id, uploader, kind, media_ids, filter, is_of_deleted, selected, matching, created_at, is_planned,
                       end_to_tell)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, clock_timestamp()), false, true);

-- name: lock_unplanned
-- Of several replicas one works on a parent at a time. The one that has got least goes first, so that a few media never
-- wait behind a million.
SELECT id, uploader, created_at, kind, media_ids, filter, matching, is_of_deleted, plan_cursor, items FROM bulk_jobs
WHERE NOT is_planned AND kind = ANY($1::text[])
ORDER BY items, id
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: named_page
-- In the order of their ids, as every page of a selection: transactions that lock several media never wait in a circle.
SELECT * FROM media
WHERE id = ANY($1::uuid[]) AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3
FOR UPDATE;

-- name: filtered_page
SELECT * FROM media
WHERE id < $1 AND ($2::uuid IS NULL OR id > $2)
  AND (deleted_at IS NOT NULL) = $3 AND deletion_id IS NULL
  AND ($4::text IS NULL OR entity_type = $4)
  AND ($5::text IS NULL OR entity_id = $5)
  AND ($6::text IS NULL OR storage_status = $6)
ORDER BY id
LIMIT $7
FOR UPDATE;

-- name: add_page
-- The cursor moves with what was done to a page, so a crash does nothing twice and leaves nothing out. At the end the
-- names of what was selected have no use any more; what became of each says its item.
WITH done AS (
    SELECT * FROM jsonb_to_recordset($3::jsonb) AS item (
        position integer, media_id uuid, filename text, job_id uuid, error_code text, error_detail text)
),
new_items AS (
    INSERT INTO bulk_items (bulk_id, position, filename, job_id, media_id, error_code, error_detail)
    SELECT $1, position, filename, job_id, media_id, error_code, error_detail FROM done
)
UPDATE bulk_jobs
SET plan_cursor = $2, items = items + (SELECT count(*) FROM done), is_planned = $2::uuid IS NULL,
    refused = refused + (SELECT count(*) FROM done WHERE error_code IS NOT NULL),
    media_ids = CASE WHEN $2::uuid IS NOT NULL THEN media_ids END
WHERE id = $1;
