-- name: unknown_media
SELECT wanted.id FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position)
WHERE NOT EXISTS (SELECT FROM media WHERE media.id = wanted.id AND deletion_id IS NULL)
ORDER BY wanted.position;

-- name: add
INSERT INTO sync_jobs (id, operation, total_files, retry_of, requested_by, delete_source, rename_from, rename_to, profile,
                       created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: add_selection
INSERT INTO sync_selections (job_id, matching, matched_at, command) VALUES ($1, $2, $3, $4);

-- name: lock_selection
-- Of several replicas one works on a selection at a time. The one that has got least goes first, so that a few media
-- never wait behind a million.
SELECT * FROM sync_selections ORDER BY selected, job_id LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: move_selection
UPDATE sync_selections SET cursor = $2, selected = selected + $3 WHERE job_id = $1;

-- name: end_selection
-- Cancelling waits for a page that is in hand, and whatever comes first is the only one that finds the row.
DELETE FROM sync_selections WHERE job_id = $1 RETURNING *;

-- name: lock
-- Facts of one job and its children are recorded one after the other: each counts what those before it said, so the
-- last one that its requester is told has the whole sum.
SELECT FROM sync_jobs WHERE id = $1 FOR UPDATE;

-- name: record
-- Only a newer fact overwrites: facts may come late, twice or in another order.
INSERT INTO sync_jobs (id, parent_job_id, is_parent, batch_index, batch_size, version, operation, status, total_files,
                       processed_files, failed_files, total_bytes, moved_bytes, error, retry_of, requested_by,
                       created_at, started_at, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (id) DO UPDATE
SET parent_job_id = excluded.parent_job_id, is_parent = excluded.is_parent, batch_index = excluded.batch_index,
    batch_size = excluded.batch_size, version = excluded.version, operation = excluded.operation,
    status = excluded.status, total_files = excluded.total_files, processed_files = excluded.processed_files,
    failed_files = excluded.failed_files, total_bytes = excluded.total_bytes, moved_bytes = excluded.moved_bytes,
    error = excluded.error, started_at = excluded.started_at, finished_at = excluded.finished_at
WHERE sync_jobs.version < excluded.version
RETURNING true;

-- name: add_results
INSERT INTO sync_results (root_job_id, job_id, media_id, status, bytes_moved, code, detail)
SELECT $1, $2, result.media_id, result.status, result.bytes_moved, result.code, result.detail
FROM jsonb_to_recordset($3) AS result (media_id uuid, status text, bytes_moved bigint, code text, detail text)
ON CONFLICT (root_job_id, media_id) DO NOTHING;

-- name: prune_results
-- What failed is kept longest: that is what somebody looks for.
DELETE FROM sync_results WHERE id IN (
    SELECT id FROM sync_results WHERE root_job_id = $1 ORDER BY (status = 'failed') DESC, id DESC OFFSET $2
);

-- name: claim_telling
-- A change of status is always told, as is what comes after the end; mere progress at most every so often.
UPDATE sync_jobs SET told_status = status, told_at = clock_timestamp()
WHERE id = $1
  AND (told_status IS DISTINCT FROM status OR finished_at IS NOT NULL
       OR told_at < clock_timestamp() - make_interval(secs => $2))
RETURNING true;

-- name: newest
SELECT id FROM sync_jobs
WHERE parent_job_id IS NULL AND ($1::uuid IS NULL OR id < $1)
ORDER BY id DESC
LIMIT $2;

-- name: families
-- Jobs, some children of each behind a batch index, and the sums over all children: in one statement, so that they are
-- of one moment.
SELECT job.id, job.parent_job_id, job.is_parent, job.batch_index, job.batch_size, job.operation, job.status,
       job.total_files, job.processed_files, job.failed_files, job.total_bytes, job.moved_bytes, job.error,
       job.retry_of, job.requested_by, job.delete_source, job.rename_from, job.rename_to, job.profile, job.created_at,
       job.started_at, job.finished_at, sums.*
FROM unnest($1::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM sync_jobs WHERE id = wanted.id
    UNION ALL
    (SELECT * FROM sync_jobs WHERE parent_job_id = wanted.id AND batch_index > $2 ORDER BY batch_index LIMIT $3)
) AS job
CROSS JOIN LATERAL (
    SELECT count(*) AS sum_count, coalesce(sum(total_files), 0) AS sum_total_files,
           coalesce(sum(processed_files), 0) AS sum_processed_files, coalesce(sum(failed_files), 0) AS sum_failed_files,
           coalesce(sum(total_bytes), 0)::bigint AS sum_total_bytes,
           coalesce(sum(moved_bytes), 0)::bigint AS sum_moved_bytes
    FROM sync_jobs WHERE parent_job_id = job.id
) AS sums;

-- name: results
-- Failures first, then the newest; of one child alone where it is named.
SELECT job_id, media_id, status, bytes_moved, code, detail FROM sync_results
WHERE root_job_id = $1 AND ($2::uuid IS NULL OR job_id = $2)
ORDER BY (status = 'failed') DESC, id DESC
LIMIT $3;

-- name: results_of_many
SELECT root.id AS root_job_id, result.job_id, result.media_id, result.status, result.bytes_moved, result.code,
       result.detail
FROM unnest($1::uuid[]) AS root (id)
CROSS JOIN LATERAL (
    SELECT * FROM sync_results WHERE root_job_id = root.id ORDER BY (status = 'failed') DESC, id DESC LIMIT $2
) AS result
ORDER BY (result.status = 'failed') DESC, result.id DESC;

-- name: remove_finished
-- A job goes with its children and results, in one statement.
WITH old AS (
    SELECT id FROM sync_jobs
    WHERE parent_job_id IS NULL AND finished_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY finished_at
    LIMIT $2
),
results AS (
    DELETE FROM sync_results WHERE root_job_id IN (SELECT id FROM old)
),
children AS (
    DELETE FROM sync_jobs WHERE parent_job_id IN (SELECT id FROM old)
)
DELETE FROM sync_jobs WHERE id IN (SELECT id FROM old)
RETURNING id;
