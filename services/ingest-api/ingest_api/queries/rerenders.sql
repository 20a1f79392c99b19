-- name: unknown_media
SELECT wanted.id FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position)
WHERE NOT EXISTS (SELECT FROM media WHERE media.id = wanted.id AND deletion_id IS NULL)
ORDER BY wanted.position;

-- name: count_selected
-- What was uploaded after the call is no part of the selection: ids are ordered by time.
SELECT count(*) FROM media
WHERE id < $1 AND deleted_at IS NULL AND status <> 'failed'
  AND ($2::text IS NULL OR entity_type = $2)
  AND ($3::text IS NULL OR entity_id = $3)
  AND ($4::text IS NULL OR storage_status = $4);

-- name: add_parent
WITH parent AS (
    INSERT INTO bulk_jobs (id, uploader, kind, media_ids, filter, selected, matching, created_at, is_planned, end_to_tell)
    VALUES ($1, $2, 'rerender', $3, $4, $5, $6, coalesce($7, clock_timestamp()), false, true)
)
INSERT INTO bulk_failures (bulk_id, failed) VALUES ($1, 0);

-- name: lock_unplanned
-- Of several replicas one plans a parent at a time. The one that has got least goes first, so that a few media never
-- wait behind a million.
SELECT id, uploader, created_at, media_ids, filter, matching, plan_cursor, items FROM bulk_jobs
WHERE NOT is_planned AND kind = 'rerender'
ORDER BY items, id
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: pending
SELECT count(*) FROM (
    SELECT FROM jobs WHERE status IN ('waiting', 'active') AND kind = 'rerender' LIMIT $1
) AS pending;

-- name: named_page
-- In the order of their ids, as every page of a selection: transactions that lock several media never wait in a circle.
SELECT media.*, coalesce(settings.version, 0) AS settings_version
FROM media LEFT JOIN settings ON settings.name = 'entity-type:' || media.entity_type
WHERE media.id = ANY($1::uuid[]) AND ($2::uuid IS NULL OR media.id > $2)
ORDER BY media.id
LIMIT $3
FOR NO KEY UPDATE OF media;

-- name: filtered_page
SELECT media.*, coalesce(settings.version, 0) AS settings_version
FROM media LEFT JOIN settings ON settings.name = 'entity-type:' || media.entity_type
WHERE media.id < $1 AND ($2::uuid IS NULL OR media.id > $2)
  AND media.deleted_at IS NULL AND media.status <> 'failed'
  AND ($3::text IS NULL OR media.entity_type = $3)
  AND ($4::text IS NULL OR media.entity_id = $4)
  AND ($5::text IS NULL OR media.storage_status = $5)
ORDER BY media.id
LIMIT $6
FOR NO KEY UPDATE OF media;

-- name: add_page
-- The cursor moves with the jobs of a page and their commands, so a crash plans no medium twice and none never. At the
-- end the names of what was selected have no use any more; what became of each says its item.
WITH planned AS (
    SELECT * FROM jsonb_to_recordset($3::jsonb) AS item (
        position integer, media_id uuid, filename text, job_id uuid, revision integer, entity_type text,
        error_code text, error_detail text)
),
new_items AS (
    INSERT INTO bulk_items (bulk_id, position, filename, job_id, media_id, error_code, error_detail)
    SELECT $1, position, filename, job_id, media_id, error_code, error_detail FROM planned
),
new_jobs AS (
    INSERT INTO jobs (id, media_id, revision, uploader, entity_type, kind)
    SELECT job_id, media_id, revision, $4, entity_type, 'rerender' FROM planned WHERE job_id IS NOT NULL
),
given AS (
    UPDATE media SET last_revision = planned.revision
    FROM planned WHERE media.id = planned.media_id AND planned.job_id IS NOT NULL
)
UPDATE bulk_jobs
SET plan_cursor = $2, items = items + (SELECT count(*) FROM planned), is_planned = $2::uuid IS NULL,
    refused = refused + (SELECT count(*) FROM planned WHERE error_code IS NOT NULL),
    media_ids = CASE WHEN $2::uuid IS NOT NULL THEN media_ids END
WHERE id = $1;

-- name: resume
-- The condition makes two retries at once one: the second finds the job waiting. It counts as failed no more.
WITH resumed AS (
    UPDATE jobs
    SET status = 'waiting', progress = 0, attempts = 0, next_attempt_at = NULL, finished_at = NULL
    WHERE id = $1 AND status = 'failed' AND kind = 'rerender'
    RETURNING *
),
item AS (
    UPDATE bulk_items SET error_code = NULL, error_detail = NULL FROM resumed WHERE bulk_items.job_id = resumed.id
    RETURNING bulk_id
),
counted AS (
    UPDATE bulk_failures SET failed = failed - 1 FROM item WHERE bulk_failures.bulk_id = item.bulk_id
)
SELECT * FROM resumed;

-- name: running_parent
SELECT parent.id FROM bulk_items AS item JOIN bulk_jobs AS parent ON parent.id = item.bulk_id
WHERE item.job_id = $1 AND parent.cancelled_at IS NULL;

-- name: settings_version
SELECT version FROM settings WHERE name = 'entity-type:' || $1::text;
