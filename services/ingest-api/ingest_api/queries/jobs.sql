-- name: job
SELECT * FROM jobs WHERE id = $1;

-- name: list_jobs
SELECT * FROM jobs
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR status = $2)
ORDER BY id DESC
LIMIT $3;

-- name: count_pending
SELECT status, count(*) AS jobs FROM jobs WHERE status IN ('waiting', 'active') GROUP BY status;

-- name: advance
-- Progress only grows, and says nothing any more once the job has an outcome: such facts may come late or twice. Of an
-- attempt that has failed nothing is believed before the next one is due.
UPDATE jobs
SET status = 'active', progress = greatest(progress, $2), attempts = greatest(attempts, $3), next_attempt_at = NULL,
    started_at = coalesce(started_at, clock_timestamp())
WHERE id = $1 AND status IN ('waiting', 'active')
  AND (attempts < $3 OR (attempts = $3 AND (progress < $2 OR status = 'waiting')
                         AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())))
RETURNING media_id, uploader;

-- name: await_next_attempt
UPDATE jobs
SET status = 'waiting', attempts = greatest(attempts, $2), error_code = $3, error_detail = $4, next_attempt_at = $5
WHERE id = $1 AND status IN ('waiting', 'active') AND attempts <= $2;

-- name: complete
UPDATE jobs
SET status = 'completed', progress = 100, outcome = $2, attempts = greatest(attempts, 1), error_code = NULL,
    error_detail = NULL, staging_key = NULL, next_attempt_at = NULL,
    started_at = coalesce(started_at, clock_timestamp()), finished_at = clock_timestamp()
WHERE id = $1 AND status <> 'completed'
RETURNING media_id, uploader, entity_type;

-- name: fail
UPDATE jobs
SET status = 'failed', attempts = greatest(attempts, $2), error_code = $3, error_detail = $4, next_attempt_at = NULL,
    started_at = coalesce(started_at, clock_timestamp()), finished_at = clock_timestamp()
WHERE id = $1 AND status IN ('waiting', 'active')
RETURNING media_id, uploader, entity_type;

-- name: resume
-- The condition makes two retries at once one: the second finds the job waiting.
UPDATE jobs
SET status = 'waiting', progress = 0, attempts = 0, next_attempt_at = NULL, finished_at = NULL
WHERE id = $1 AND status = 'failed' AND staging_key IS NOT NULL
RETURNING *;

-- name: remove_completed
-- A completed job stays while it is younger than its time or among the newest. A bulk upload remembers how its pictures
-- ended, so its counts stay right when their jobs are gone.
WITH gone AS (
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs
        WHERE status = 'completed' AND finished_at < clock_timestamp() - make_interval(secs => $1)
          AND id NOT IN (SELECT id FROM jobs WHERE status = 'completed' ORDER BY finished_at DESC LIMIT $2)
        LIMIT $3
    )
    RETURNING id
),
remembered AS (
    UPDATE bulk_items SET ended_as = 'completed' FROM gone WHERE bulk_items.job_id = gone.id
)
SELECT id FROM gone;

-- name: remove_failed
-- The status again in the outer statement: a job that is retried in this moment stays, and its file with it.
WITH gone AS (
    DELETE FROM jobs WHERE status = 'failed' AND id IN (
        SELECT id FROM jobs WHERE status = 'failed' AND finished_at < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
    )
    RETURNING id, staging_key, error_code, error_detail
),
remembered AS (
    UPDATE bulk_items SET ended_as = 'failed', error_code = gone.error_code, error_detail = gone.error_detail
    FROM gone WHERE bulk_items.job_id = gone.id
)
SELECT id, staging_key FROM gone;

-- name: remove_bulk_jobs
-- A parent goes after the last of its jobs.
DELETE FROM bulk_jobs WHERE id IN (
    SELECT parent.id FROM bulk_jobs AS parent
    WHERE NOT EXISTS (SELECT FROM bulk_items AS item JOIN jobs ON jobs.id = item.job_id WHERE item.bulk_id = parent.id)
    LIMIT $1
)
RETURNING id;

-- name: bulk_job
-- One statement, so one moment: the parent's counts and those of its pictures never disagree.
SELECT item.filename, item.job_id, item.media_id,
       coalesce(jobs.status, item.ended_as, CASE WHEN item.error_code IS NULL THEN 'completed' ELSE 'failed' END)
           AS status,
       coalesce(jobs.progress, 100) AS progress, coalesce(jobs.attempts, 0) AS attempts,
       coalesce(jobs.error_code, item.error_code) AS error_code,
       coalesce(jobs.error_detail, item.error_detail) AS error_detail
FROM bulk_items AS item LEFT JOIN jobs ON jobs.id = item.job_id
WHERE item.bulk_id = $1
ORDER BY item.position;

-- name: remove_old_idempotency_keys
DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - make_interval(secs => $1);

-- name: known_staging_keys
SELECT staging_key FROM jobs WHERE staging_key = ANY($1::text[]);
