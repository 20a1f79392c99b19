-- name: lock
-- Deletion, restoration and purge of one medium run one after the other: each decides on what the one before it left.
SELECT * FROM media WHERE id = $1 FOR UPDATE;

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
    FROM jobs WHERE media_id = $1 AND finished_at IS NOT NULL
    UNION ALL
    SELECT what, happened_at, done_by, NULL, NULL FROM media_changes WHERE media_id = $1
)
SELECT * FROM entries ORDER BY happened_at DESC LIMIT $2;

-- name: begin
WITH given_up AS (
    UPDATE media
    SET deleted_at = coalesce(deleted_at, clock_timestamp()), deleted_by = coalesce(deleted_by, $7), deletion_id = $2,
        deletion_version = deletion_version + 1, updated_at = clock_timestamp()
    WHERE id = $1
    RETURNING id, deletion_version, revision, entity_type, entity_id
)
INSERT INTO media_deletions (id, media_id, version, revision, entity_type, entity_id, keeps_bucket, reason, purge_id,
                             requested_by, is_told, owing)
SELECT $2, id, deletion_version, revision, entity_type, entity_id, $3, $4, $5, $7, $6, $8 FROM given_up
RETURNING *;

-- name: deletion
SELECT * FROM media_deletions WHERE id = $1;

-- name: lock_deletion
-- Answers to one deletion are recorded one after the other: the last of them finds that nobody owes one.
SELECT * FROM media_deletions WHERE id = $1 FOR UPDATE;

-- name: newest
SELECT * FROM media_deletions
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::boolean IS NULL OR (completed_at IS NULL) = $2)
ORDER BY id DESC
LIMIT $3;

-- name: answer
-- What is told twice: of rows the first answer counts, for the second one found none left; of files the last one, which
-- has those of the first.
UPDATE media_deletions
SET owing = array_remove(owing, $2),
    slices = CASE WHEN $4 THEN slices || jsonb_build_object($2::text, $3::jsonb)
                  ELSE jsonb_build_object($2::text, $3::jsonb) || slices END,
    trouble = CASE WHEN $4 THEN NULL ELSE trouble END
WHERE id = $1
RETURNING *;

-- name: note_trouble
UPDATE media_deletions SET trouble = $2 WHERE id = $1 AND completed_at IS NULL;

-- name: renderings
SELECT count(*) FROM jobs WHERE media_id = $1 AND status IN ('waiting', 'active');

-- name: renderings_of_many
SELECT media_id, count(*) AS renderings FROM jobs
WHERE media_id = ANY($1::uuid[]) AND status IN ('waiting', 'active')
GROUP BY media_id;

-- name: stored_keys
-- Every key that the record names.
SELECT file ->> 'key' AS key
FROM media, jsonb_array_elements(variants || coalesce(jsonb_build_array(original) - 'null', '[]')) AS file
WHERE id = $1 AND jsonb_typeof(file) = 'object';

-- name: staging_keys
SELECT staging_key FROM jobs WHERE media_id = $1 AND staging_key IS NOT NULL;

-- name: begin_removing
UPDATE media_deletions SET stage = 'removing', ask_at = clock_timestamp() + interval '1 minute', asked = 1
WHERE id = $1 AND stage = 'forgetting'
RETURNING *;

-- name: complete
-- The record goes with everything that names it; what a bulk upload counts stays, without names.
WITH ended AS (
    UPDATE bulk_items
    SET ended_as = CASE WHEN jobs.status = 'completed' THEN 'completed' ELSE 'failed' END,
        error_code = coalesce(jobs.error_code, bulk_items.error_code), error_detail = NULL
    FROM jobs
    WHERE bulk_items.media_id = $2 AND jobs.media_id = $2 AND jobs.id = bulk_items.job_id
    RETURNING bulk_items.bulk_id, bulk_items.position
),
gone_notices AS (DELETE FROM notices WHERE media_id = $2 RETURNING 1),
gone_keys AS (DELETE FROM idempotency_keys WHERE media_id = $2 RETURNING 1),
gone_results AS (DELETE FROM sync_results WHERE media_id = $2 RETURNING 1),
gone_jobs AS (DELETE FROM jobs WHERE media_id = $2 RETURNING 1),
gone_media AS (DELETE FROM media WHERE id = $2 RETURNING deletion_version),
nameless_uploads AS (
    UPDATE direct_uploads SET filename = '', entity_id = NULL, alt = NULL, title = NULL WHERE media_id = $2
),
counted AS (
    SELECT (SELECT count(*) FROM gone_notices) + (SELECT count(*) FROM gone_keys) + (SELECT count(*) FROM gone_results)
         + (SELECT count(*) FROM gone_jobs) + (SELECT count(*) FROM gone_media) AS records
)
UPDATE media_deletions
SET stage = 'completed', completed_at = clock_timestamp(), trouble = NULL, version = version + 1,
    slices = slices || jsonb_build_object('ingest-api', jsonb_build_object('records', counted.records))
FROM counted
WHERE id = $1
RETURNING media_deletions.*;

-- name: forget_names
-- Behind the statement above: a row is changed once per statement.
UPDATE bulk_items SET filename = '', media_id = CASE WHEN job_id = $1 THEN media_id END WHERE media_id = $2;

-- name: take_silent
SELECT * FROM media_deletions
WHERE completed_at IS NULL AND ask_at <= statement_timestamp()
ORDER BY ask_at
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: ask_later
UPDATE media_deletions
SET asked = asked + 1, ask_at = clock_timestamp() + make_interval(secs => least(60 * 2 ^ least(asked, 6), 3600))
WHERE id = $1;

-- name: count_open
SELECT count(*) AS open,
       coalesce(extract(epoch FROM clock_timestamp() - min(begun_at)), 0)::float8 AS oldest_seconds
FROM media_deletions WHERE completed_at IS NULL;

-- name: remove_receipts
DELETE FROM media_deletions WHERE id IN (
    SELECT id FROM media_deletions
    WHERE completed_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2
)
RETURNING id;
