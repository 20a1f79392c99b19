-- name: upload_job
-- One statement, so one moment: the parent's counts and those of its pictures never disagree. Of a large parent the
-- pictures that failed are shown first; of any other, all of them in their order.
WITH children AS (
    SELECT item.position, item.filename, item.job_id, item.media_id,
           coalesce(jobs.status, item.ended_as, CASE WHEN item.error_code IS NULL THEN 'completed' ELSE 'failed' END)
               AS status,
           coalesce(jobs.progress, 100) AS progress, coalesce(jobs.attempts, 0) AS attempts,
           coalesce(jobs.error_code, item.error_code) AS error_code,
           coalesce(jobs.error_detail, item.error_detail) AS error_detail
    FROM bulk_items AS item LEFT JOIN jobs ON jobs.id = item.job_id
    WHERE item.bulk_id = $1
),
counts AS (
    SELECT count(*) AS items,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status = 'cancelled') AS not_begun,
           count(*) FILTER (WHERE status = 'active' OR (status IN ('completed', 'failed') AND job_id IS NOT NULL))
               AS begun,
           coalesce(max(attempts), 0) AS attempts
    FROM children
)
SELECT parent.kind, parent.is_planned, parent.selected, parent.cancelled_at, counts.items, counts.completed,
       counts.failed, counts.not_begun, 0 AS queued, counts.begun, counts.attempts AS most_attempts, child.*
FROM bulk_jobs AS parent CROSS JOIN counts LEFT JOIN LATERAL (
    SELECT * FROM children
    ORDER BY (counts.items > $2 AND status = 'failed') DESC, position
    LIMIT $2
) AS child ON true
WHERE parent.id = $1;

-- name: kind
SELECT kind FROM bulk_jobs WHERE id = $1 AND NOT is_going;

-- name: settled_job
-- The same of a parent whose media were deleted or restored. Of a million nothing is counted one by one: what is not
-- refused is done, but for deletions that are open.
WITH parent AS (
    SELECT kind, is_planned, selected, cancelled_at, items, refused FROM bulk_jobs WHERE id = $1
),
open AS (
    SELECT count(*) AS deletions FROM media_deletions AS deletion JOIN bulk_items AS item ON item.job_id = deletion.id
    WHERE deletion.completed_at IS NULL AND item.bulk_id = $1
),
candidates AS (
    (SELECT * FROM bulk_items WHERE bulk_id = $1 AND error_code IS NOT NULL ORDER BY position LIMIT $2)
    UNION ALL
    (SELECT * FROM bulk_items WHERE bulk_id = $1 ORDER BY position LIMIT $2)
)
SELECT parent.kind, parent.is_planned, parent.selected, parent.cancelled_at, parent.items, parent.items AS begun,
       0 AS most_attempts,
       parent.items - parent.refused - open.deletions AS completed, parent.refused AS failed, 0 AS not_begun, 0 AS queued,
       child.*
FROM parent CROSS JOIN open LEFT JOIN LATERAL (
    SELECT item.position, item.filename, item.job_id, item.media_id,
           CASE WHEN item.error_code IS NOT NULL THEN 'failed'
                WHEN deletion.completed_at IS NULL AND deletion.id IS NOT NULL THEN 'active' ELSE 'completed' END AS status,
           CASE WHEN deletion.completed_at IS NULL AND deletion.id IS NOT NULL THEN 0 ELSE 100 END AS progress,
           0 AS attempts, item.error_code, item.error_detail
    FROM (SELECT DISTINCT ON (position) * FROM candidates) AS item
         LEFT JOIN media_deletions AS deletion ON deletion.id = item.job_id
    ORDER BY (parent.items > $2 AND item.error_code IS NOT NULL) DESC, item.position
    LIMIT $2
) AS child ON true;

-- name: rerender_job
-- The same of a parent whose pictures are rendered anew. Of a million nothing is counted one by one: of all parents
-- together about a thousand pictures wait or are worked on, failures and what was cancelled are counted as they happen,
-- and what is none of these is done. The items of failures say why, so those come first that the index of these names.
WITH parent AS (
    SELECT kind, is_planned, selected, cancelled_at, items, refused, refused + coalesce(counted.failed, 0) AS failed,
           coalesce(counted.cancelled, 0) AS not_begun
    FROM bulk_jobs LEFT JOIN bulk_failures AS counted ON counted.bulk_id = bulk_jobs.id
    WHERE id = $1
),
pending AS (
    SELECT count(*) AS jobs, count(*) FILTER (WHERE jobs.status = 'waiting') AS waiting, max(jobs.attempts) AS attempts
    FROM jobs CROSS JOIN LATERAL (SELECT bulk_id FROM bulk_items WHERE job_id = jobs.id LIMIT 1) AS item
    WHERE jobs.status IN ('waiting', 'active') AND jobs.kind = 'rerender' AND item.bulk_id = $1
),
candidates AS (
    (SELECT * FROM bulk_items WHERE bulk_id = $1 AND error_code IS NOT NULL ORDER BY position LIMIT $2)
    UNION ALL
    (SELECT * FROM bulk_items WHERE bulk_id = $1 ORDER BY position LIMIT $2)
)
SELECT parent.kind, parent.is_planned, parent.selected, parent.cancelled_at, parent.items, parent.failed,
       parent.not_begun, pending.waiting AS queued,
       parent.items - parent.failed - parent.not_begun - pending.jobs AS completed,
       parent.items - parent.refused - parent.not_begun - pending.waiting AS begun,
       greatest(pending.attempts, max(child.attempts) OVER (), 0) AS most_attempts, child.*
FROM parent CROSS JOIN pending LEFT JOIN LATERAL (
    SELECT item.position, item.filename, item.job_id, item.media_id,
           coalesce(job.status, item.ended_as, CASE WHEN item.error_code IS NULL THEN 'completed' ELSE 'failed' END)
               AS status,
           coalesce(job.progress, CASE WHEN item.ended_as = 'cancelled' THEN 0 ELSE 100 END) AS progress,
           coalesce(job.attempts, 0) AS attempts,
           coalesce(job.error_code, item.error_code) AS error_code,
           coalesce(job.error_detail, item.error_detail) AS error_detail
    FROM (SELECT DISTINCT ON (position) * FROM candidates) AS item LEFT JOIN LATERAL (
        SELECT status, progress, attempts, error_code, error_detail FROM jobs WHERE jobs.id = item.job_id LIMIT 1
    ) AS job ON true
    ORDER BY (parent.items > $2 AND item.error_code IS NOT NULL) DESC, item.position
    LIMIT $2
) AS child ON true;

-- name: lock
-- **Who works on a page holds this row until the page is done**, and finds no parent that is planned: this waits for the
-- pages that are before it, and then there is no next one, in whatever process. A statement of its own, so that the next
-- one finds what those pages queued. Nothing else is locked, so nobody waits in a circle.
SELECT FROM bulk_jobs WHERE id = $1 FOR NO KEY UPDATE;

-- name: cancel
-- What is queued is answered by who would render it. Of a parent that was planned to its end, what had left the
-- selection before is no part of it.
UPDATE bulk_jobs
SET is_planned = true, cancelled_at = clock_timestamp(), cancelled_by = $2, media_ids = NULL, end_to_tell = true,
    selected = CASE WHEN is_planned THEN items ELSE selected END
WHERE id = $1 AND cancelled_at IS NULL AND (
    NOT is_planned
    OR (kind = 'rerender' AND EXISTS (
        SELECT FROM jobs CROSS JOIN LATERAL (SELECT bulk_id FROM bulk_items WHERE job_id = jobs.id LIMIT 1) AS item
        WHERE jobs.status = 'waiting' AND jobs.kind = 'rerender' AND item.bulk_id = $1
    ))
)
RETURNING uploader, kind, cancelled_at;

-- name: lock_ends_to_tell
-- Of several replicas one looks whether a parent has ended, so its end is told once.
SELECT id, uploader FROM bulk_jobs
WHERE end_to_tell AND is_planned AND ($1::uuid IS NULL OR id > $1)
ORDER BY id
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED;

-- name: note_end_told
UPDATE bulk_jobs SET end_to_tell = false WHERE id = $1 AND end_to_tell;

-- name: old_parents
-- The oldest first, behind a place. Of each, as many items as are looked at, from the last on: jobs go roughly in the
-- order in which they came, so that one which is left is found soon. A parent is kept for as long as a job would be: it
-- may never have had any. Each item's job is looked up by its id: EXISTS would read all jobs to compare with.
WITH old AS (
    SELECT id, created_at FROM bulk_jobs
    WHERE is_planned AND created_at < statement_timestamp() - make_interval(secs => $1)
      AND created_at >= coalesce($2::timestamptz, '-infinity')
      AND ($2 IS NULL OR (created_at, id) > ($2, $3::uuid))
    ORDER BY created_at, id
    LIMIT $4
)
SELECT old.id, old.created_at, item.looked_at, item.is_needed, item.last_position
FROM old CROSS JOIN LATERAL (
    SELECT count(*) AS looked_at, coalesce(bool_or(is_needed), false) AS is_needed, min(position) AS last_position
    FROM (
        SELECT position, coalesce(
            (SELECT true FROM jobs WHERE jobs.id = item.job_id LIMIT 1),
            (SELECT completed_at IS NULL FROM media_deletions AS deletion WHERE deletion.id = item.job_id LIMIT 1),
            false
        ) AS is_needed
        FROM bulk_items AS item WHERE bulk_id = old.id ORDER BY position DESC LIMIT $5
    ) AS looked_at
) AS item
ORDER BY old.created_at, old.id;

-- name: older_items
-- The same of one parent, of its items before a position.
SELECT count(*) AS looked_at, coalesce(bool_or(is_needed), false) AS is_needed, min(position) AS last_position
FROM (
    SELECT position, coalesce(
        (SELECT true FROM jobs WHERE jobs.id = item.job_id LIMIT 1),
        (SELECT completed_at IS NULL FROM media_deletions AS deletion WHERE deletion.id = item.job_id LIMIT 1),
        false
    ) AS is_needed
    FROM bulk_items AS item WHERE bulk_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3
) AS looked_at;

-- name: remove_parents
DELETE FROM bulk_jobs WHERE id = ANY($1::uuid[]) RETURNING id;

-- name: begin_removing
UPDATE bulk_jobs SET is_going = true WHERE id = $1;

-- name: remove_items
-- By where the rows lie: a join would look at all items of the parent for each part.
DELETE FROM bulk_items
WHERE ctid = ANY(ARRAY(SELECT ctid FROM bulk_items WHERE bulk_id = $1 ORDER BY position LIMIT $2)) AND bulk_id = $1
RETURNING position;
