-- name: job
-- What came out of a medium that is deleted is hidden with it.
SELECT jobs.*, media.deleted_at IS NOT NULL AS is_hidden
FROM jobs JOIN media ON media.id = jobs.media_id WHERE jobs.id = $1;

-- name: list_jobs
WITH page AS (
    SELECT * FROM jobs
    WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR status = $2)
    ORDER BY id DESC
    LIMIT $3
)
SELECT page.*, media.deleted_at IS NOT NULL AS is_hidden
FROM page JOIN media ON media.id = page.media_id
ORDER BY page.id DESC;

-- name: count_pending
SELECT status, count(*) AS jobs FROM jobs WHERE status IN ('waiting', 'active') GROUP BY status;

-- name: advance
-- Progress only grows, and says nothing any more once the job has an outcome: such facts may come late or twice. Of an
-- attempt that has failed nothing is believed before the next one is due. The uploader is told in the same statement, as
-- notices.sql does it: there are three of these facts per picture.
WITH advanced AS (
    UPDATE jobs
    SET status = 'active', progress = greatest(progress, $2), attempts = greatest(attempts, $3), next_attempt_at = NULL,
        started_at = coalesce(started_at, clock_timestamp())
    WHERE id = $1 AND status IN ('waiting', 'active')
      AND (attempts < $3 OR (attempts = $3 AND (progress < $2 OR status = 'waiting')
                             AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())))
    RETURNING media_id, uploader
),
stream AS (
    INSERT INTO notice_streams (uploader, last_id) SELECT uploader, 1 FROM advanced
    ON CONFLICT (uploader) DO UPDATE SET last_id = notice_streams.last_id + 1
    RETURNING last_id
),
notice AS (
    INSERT INTO notices (uploader, id, type, job_id, media_id, body, traceparent)
    SELECT uploader, last_id, 'media:progress', $1, media_id, jsonb_build_object('progress', $2::integer), $4
    FROM advanced, stream
    RETURNING uploader
)
SELECT pg_notify('notices_' || current_schema(), uploader::text || ' ' || $1::text) FROM notice;

-- name: await_next_attempt
UPDATE jobs
SET status = 'waiting', attempts = greatest(attempts, $2), error_code = $3, error_detail = $4, next_attempt_at = $5
WHERE id = $1 AND status IN ('waiting', 'active') AND attempts <= $2;

-- name: complete
-- A job that had failed, or was cancelled, counts so with its parent no more. The job is locked first, for only then is
-- it sure what it was.
WITH not_completed AS (
    SELECT id, status FROM jobs WHERE id = $1 AND status <> 'completed' FOR UPDATE
),
recovered AS (
    UPDATE bulk_items SET error_code = NULL, error_detail = NULL
    FROM not_completed AS job WHERE bulk_items.job_id = job.id AND job.status IN ('failed', 'cancelled')
    RETURNING bulk_id, job.status
),
counted AS (
    UPDATE bulk_failures
    SET failed = failed - (recovered.status = 'failed')::integer,
        cancelled = cancelled - (recovered.status = 'cancelled')::integer
    FROM recovered WHERE bulk_failures.bulk_id = recovered.bulk_id
)
UPDATE jobs
SET status = 'completed', progress = 100, outcome = $2, attempts = greatest(attempts, 1), error_code = NULL,
    error_detail = NULL, staging_key = NULL, next_attempt_at = NULL,
    started_at = coalesce(started_at, clock_timestamp()), finished_at = clock_timestamp()
FROM not_completed
WHERE jobs.id = not_completed.id
RETURNING media_id, uploader, (SELECT deletion_id FROM media WHERE media.id = jobs.media_id);

-- name: fail
-- **What changes whether a job has failed changes the item of its parent and the parent's count with it**: the parent of
-- a million is read without them.
WITH failed AS (
    UPDATE jobs
    SET status = 'failed', attempts = greatest(attempts, $2), error_code = $3, error_detail = $4, next_attempt_at = NULL,
        started_at = coalesce(started_at, clock_timestamp()), finished_at = clock_timestamp()
    WHERE id = $1 AND status IN ('waiting', 'active')
    RETURNING id, media_id, uploader
),
item AS (
    UPDATE bulk_items SET error_code = $3, error_detail = $4 FROM failed WHERE bulk_items.job_id = failed.id
    RETURNING bulk_id
),
counted AS (
    UPDATE bulk_failures SET failed = bulk_failures.failed + 1 FROM item WHERE bulk_failures.bulk_id = item.bulk_id
)
SELECT media_id, uploader, (SELECT deletion_id FROM media WHERE media.id = failed.media_id) FROM failed;

-- name: cancel
-- As above: what has an outcome keeps it, and the parent's count changes with the job.
WITH cancelled AS (
    UPDATE jobs
    SET status = 'cancelled', error_code = NULL, error_detail = NULL, next_attempt_at = NULL,
        finished_at = clock_timestamp()
    WHERE id = $1 AND status IN ('waiting', 'active')
    RETURNING id, media_id, uploader
),
counted AS (
    UPDATE bulk_failures SET cancelled = bulk_failures.cancelled + 1
    FROM cancelled JOIN bulk_items AS item ON item.job_id = cancelled.id WHERE bulk_failures.bulk_id = item.bulk_id
)
SELECT media_id, uploader, (SELECT deletion_id FROM media WHERE media.id = cancelled.media_id) FROM cancelled;

-- name: resume
-- The condition makes two retries at once one: the second finds the job waiting.
WITH resumed AS (
    UPDATE jobs
    SET status = 'waiting', progress = 0, attempts = 0, next_attempt_at = NULL, finished_at = NULL
    WHERE id = $1 AND status = 'failed' AND staging_key IS NOT NULL
    RETURNING *
),
item AS (
    UPDATE bulk_items SET error_code = NULL, error_detail = NULL FROM resumed WHERE bulk_items.job_id = resumed.id
)
SELECT * FROM resumed;

-- name: remove_completed
-- The oldest first: in any other order each batch would look through the pages that those before it have emptied.
-- A completed job stays while it is younger than its time or among the newest. A bulk upload remembers how its pictures
-- ended, so its counts stay right when their jobs are gone.
WITH gone AS (
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs
        WHERE status = 'completed' AND finished_at < statement_timestamp() - make_interval(secs => $1)
          AND id NOT IN (SELECT id FROM jobs WHERE status = 'completed' AND finished_at IS NOT NULL
                         ORDER BY finished_at DESC LIMIT $2)
        ORDER BY finished_at
        LIMIT $3
    )
    RETURNING id
),
remembered AS (
    UPDATE bulk_items SET ended_as = 'completed' FROM gone WHERE bulk_items.job_id = gone.id
)
SELECT id FROM gone;

-- name: remove_cancelled
WITH gone AS (
    DELETE FROM jobs WHERE status = 'cancelled' AND id IN (
        SELECT id FROM jobs
        WHERE status = 'cancelled' AND finished_at < statement_timestamp() - make_interval(secs => $1)
        ORDER BY finished_at
        LIMIT $2
    )
    RETURNING id
),
remembered AS (
    UPDATE bulk_items SET ended_as = 'cancelled' FROM gone WHERE bulk_items.job_id = gone.id
)
SELECT id FROM gone;

-- name: remove_failed
-- The status again in the outer statement: a job that is retried in this moment stays, and its file with it.
WITH gone AS (
    DELETE FROM jobs WHERE status = 'failed' AND id IN (
        SELECT id FROM jobs WHERE status = 'failed' AND finished_at < statement_timestamp() - make_interval(secs => $1)
        ORDER BY finished_at
        LIMIT $2
    )
    RETURNING id, staging_key, error_code, error_detail
),
remembered AS (
    UPDATE bulk_items SET ended_as = 'failed', error_code = gone.error_code, error_detail = gone.error_detail
    FROM gone WHERE bulk_items.job_id = gone.id
)
SELECT id, staging_key FROM gone;

-- name: remove_old_idempotency_keys
DELETE FROM idempotency_keys WHERE ctid IN (
    SELECT ctid FROM idempotency_keys
    WHERE created_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY created_at
    LIMIT $2
);

-- name: known_staging_keys
SELECT staging_key FROM jobs WHERE staging_key = ANY($1::text[]);
