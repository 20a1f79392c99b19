-- name: lock
-- Deletion, restoration and purge of one medium run one after the other: each decides on what the one before it left.
-- In one order, so that transactions that lock several media never wait in a circle.
SELECT * FROM media WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE;

-- name: delete_softly
WITH hidden AS (
    UPDATE media
    SET deleted_at = clock_timestamp(), deleted_by = $2, deletion_version = deletion_version + 1,
        updated_at = clock_timestamp()
    WHERE id = $1
    RETURNING *
),
noted AS (
    INSERT INTO media_changes (media_id, what, done_by, happened_at) SELECT id, 'deleted', $2, deleted_at FROM hidden
)
SELECT * FROM hidden;

-- name: restore
WITH back AS (
    UPDATE media
    SET deleted_at = NULL, deleted_by = NULL, deletion_version = deletion_version + 1, updated_at = clock_timestamp()
    WHERE id = $1
    RETURNING *
),
noted AS (
    INSERT INTO media_changes (media_id, what, done_by, happened_at) SELECT id, 'restored', $2, updated_at FROM back
)
SELECT * FROM back;

-- name: timeline
-- Renderings are known for as long as their jobs are kept.
WITH entries AS (
    SELECT 'uploaded' AS what, created_at AS happened_at, uploaded_by AS done_by, NULL::uuid AS job_id, NULL AS code
    FROM media WHERE id = $1
    UNION ALL
    SELECT CASE WHEN status = 'failed' THEN 'rendering_failed' ELSE 'rendered' END, finished_at, NULL, id, error_code
    FROM jobs WHERE media_id = $1 AND finished_at IS NOT NULL AND status <> 'cancelled'
    UNION ALL
    SELECT what, happened_at, done_by, NULL, NULL FROM media_changes WHERE media_id = $1
)
SELECT * FROM entries ORDER BY happened_at DESC LIMIT $2;

-- name: begin
WITH given_up AS (
    UPDATE media
    SET deleted_at = coalesce(deleted_at, clock_timestamp()), deleted_by = coalesce(deleted_by, $6),
        deletion_id = wanted.deletion_id, deletion_version = deletion_version + 1, updated_at = clock_timestamp()
    FROM unnest($1::uuid[], $2::uuid[]) AS wanted (media_id, deletion_id)
    WHERE media.id = wanted.media_id
    RETURNING media.id, media.deletion_id, deletion_version, revision, entity_type, entity_id
)
INSERT INTO media_deletions (id, media_id, version, revision, entity_type, entity_id, keeps_bucket, reason, purge_id,
                             requested_by, is_told, owing)
SELECT deletion_id, id, deletion_version, revision, entity_type, entity_id, $3, $4, $5, $6, $7, $8 FROM given_up
ORDER BY id
RETURNING *;

-- name: deletion
SELECT * FROM media_deletions WHERE id = $1;

-- name: lock_deletions
-- Answers to one deletion are recorded one after the other: the last of them finds that nobody owes one. In one order,
-- so that transactions with several never wait in a circle.
SELECT * FROM media_deletions WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE;

-- name: newest
SELECT * FROM media_deletions
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::boolean IS NULL OR (completed_at IS NULL) = $2)
ORDER BY id DESC
LIMIT $3;

-- name: save
-- Whoever begins to remove files gets his time for it.
UPDATE media_deletions AS deletion
SET owing = ARRAY(SELECT jsonb_array_elements_text(state.owing)), slices = state.slices, trouble = state.trouble,
    stage = state.stage,
    asked = CASE WHEN state.stage = deletion.stage THEN asked ELSE 1 END,
    ask_at = CASE WHEN state.stage = deletion.stage THEN ask_at ELSE clock_timestamp() + interval '1 minute' END
FROM jsonb_to_recordset($1::jsonb) AS state (id uuid, owing jsonb, slices jsonb, trouble jsonb, stage text)
WHERE deletion.id = state.id;

-- name: note_trouble
UPDATE media_deletions SET trouble = $2 WHERE id = $1 AND completed_at IS NULL;

-- name: renderings
SELECT media_id, count(*) AS renderings FROM jobs
WHERE media_id = ANY($1::uuid[]) AND status IN ('waiting', 'active')
GROUP BY media_id;

-- name: stored_keys
-- Every key that the records name.
SELECT media.id AS media_id, file ->> 'key' AS key
FROM media, jsonb_array_elements(variants || coalesce(jsonb_build_array(original) - 'null', '[]')) AS file
WHERE id = ANY($1::uuid[]) AND jsonb_typeof(file) = 'object';

-- name: staging_keys
SELECT media_id, staging_key AS key FROM jobs WHERE media_id = ANY($1::uuid[]) AND staging_key IS NOT NULL;

-- name: complete
-- The records go with everything that names them; what a bulk upload counts stays, without names.
WITH going AS (
    SELECT id, media_id, slices FROM jsonb_to_recordset($1::jsonb) AS state (id uuid, media_id uuid, slices jsonb)
),
ended AS (
    UPDATE bulk_items
    SET ended_as = CASE WHEN jobs.status IN ('completed', 'cancelled') THEN jobs.status ELSE 'failed' END,
        error_code = coalesce(jobs.error_code, bulk_items.error_code), error_detail = NULL
    FROM jobs
    WHERE bulk_items.media_id = jobs.media_id AND jobs.media_id = ANY($2::uuid[]) AND jobs.id = bulk_items.job_id
),
gone_notices AS (DELETE FROM notices WHERE media_id = ANY($2::uuid[]) RETURNING media_id),
gone_keys AS (DELETE FROM idempotency_keys WHERE media_id = ANY($2::uuid[]) RETURNING media_id),
gone_results AS (DELETE FROM sync_results WHERE media_id = ANY($2::uuid[]) RETURNING media_id),
gone_jobs AS (DELETE FROM jobs WHERE media_id = ANY($2::uuid[]) RETURNING media_id),
gone_media AS (DELETE FROM media WHERE id = ANY($2::uuid[]) RETURNING id),
nameless_uploads AS (
    UPDATE direct_uploads SET filename = '', entity_id = NULL, alt = NULL, title = NULL WHERE media_id = ANY($2::uuid[])
),
counted AS (
    SELECT media_id, count(*) AS records
    FROM (SELECT media_id FROM gone_notices UNION ALL SELECT media_id FROM gone_keys
          UNION ALL SELECT media_id FROM gone_results UNION ALL SELECT media_id FROM gone_jobs
          UNION ALL SELECT id FROM gone_media) AS gone
    GROUP BY media_id
)
UPDATE media_deletions AS deletion
SET stage = 'completed', completed_at = clock_timestamp(), owing = '{}', trouble = NULL, version = version + 1,
    slices = going.slices || jsonb_build_object('ingest-api', jsonb_build_object('records', coalesce(counted.records, 0)))
FROM going LEFT JOIN counted USING (media_id)
WHERE deletion.id = going.id
RETURNING deletion.*;

-- name: forget_names
-- Behind the statement above: a row is changed once per statement.
UPDATE bulk_items SET filename = '', media_id = CASE WHEN job_id = ANY($1::uuid[]) THEN media_id END
WHERE media_id = ANY($2::uuid[]);

-- name: take_silent
SELECT * FROM media_deletions
WHERE completed_at IS NULL AND ask_at <= statement_timestamp()
ORDER BY ask_at
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: ask_later
UPDATE media_deletions
SET asked = asked + 1, ask_at = clock_timestamp() + make_interval(secs => least(60 * 2 ^ least(asked, 6), 3600))
WHERE id = ANY($1::uuid[]);

-- name: count_open
SELECT count(*) AS open, count(*) FILTER (WHERE purge_id IS NULL) AS asked_for,
       coalesce(extract(epoch FROM clock_timestamp() - min(begun_at)), 0)::float8 AS oldest_seconds
FROM media_deletions WHERE completed_at IS NULL;

-- name: remove_receipts
DELETE FROM media_deletions WHERE id IN (
    SELECT id FROM media_deletions
    WHERE completed_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2
)
RETURNING id;
