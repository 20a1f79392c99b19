-- What is known of media.

-- Nothing is learned of a medium that goes for good.
-- name: know_entity
INSERT INTO media (media_id, entity_type, entity_id)
SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM deletions WHERE deletions.media_id = $1)
ON CONFLICT (media_id) DO UPDATE SET entity_type = excluded.entity_type, entity_id = excluded.entity_id;

-- The newer revision wins; the same one again is older than what this service did with it since. What is told of a medium
-- that goes for good tells of files that may have come after its places were emptied.
-- name: know_files
WITH deleted AS (
    UPDATE deletions SET due_at = clock_timestamp(), wanted = wanted + 1
    WHERE media_id = $1 AND keys IS NOT NULL
)
INSERT INTO media (media_id, revision, files, size_bytes, on_disk, in_bucket)
SELECT $1, $2::integer, $3::jsonb, $4::bigint, $5::boolean, $6::boolean
WHERE NOT EXISTS (SELECT FROM deletions WHERE deletions.media_id = $1)
ON CONFLICT (media_id) DO UPDATE
SET revision = excluded.revision, files = excluded.files, size_bytes = excluded.size_bytes,
    on_disk = excluded.on_disk, in_bucket = excluded.in_bucket
WHERE media.revision < excluded.revision;

-- Selections: what a job is made of, a page at a time in the order of ids.

-- name: known_media
SELECT media_id, size_bytes FROM media WHERE media_id = ANY($1) AND revision > 0;

-- name: count_filtered
SELECT count(*) FROM media
WHERE revision > 0
  AND ($1::text IS NULL OR entity_type = $1)
  AND ($2::text IS NULL OR entity_id = $2)
  AND CASE coalesce($3::text, 'stored')
          WHEN 'stored' THEN on_disk OR in_bucket
          WHEN 'local_only' THEN on_disk AND NOT in_bucket
              AND NOT EXISTS (SELECT 1 FROM bucket_copies AS copy
                              WHERE copy.media_id = media.media_id AND given_up_at IS NULL)
          WHEN 's3_only' THEN in_bucket AND NOT on_disk
          WHEN 'synced' THEN on_disk AND in_bucket
          WHEN 'missing' THEN NOT on_disk AND NOT in_bucket
          WHEN 'pending' THEN on_disk AND NOT in_bucket
              AND EXISTS (SELECT 1 FROM bucket_copies AS copy
                          WHERE copy.media_id = media.media_id AND given_up_at IS NULL)
      END;

-- name: filtered_page
SELECT media_id, size_bytes FROM media
WHERE revision > 0
  AND ($1::text IS NULL OR entity_type = $1)
  AND ($2::text IS NULL OR entity_id = $2)
  AND CASE coalesce($3::text, 'stored')
          WHEN 'stored' THEN on_disk OR in_bucket
          WHEN 'local_only' THEN on_disk AND NOT in_bucket
              AND NOT EXISTS (SELECT 1 FROM bucket_copies AS copy
                              WHERE copy.media_id = media.media_id AND given_up_at IS NULL)
          WHEN 's3_only' THEN in_bucket AND NOT on_disk
          WHEN 'synced' THEN on_disk AND in_bucket
          WHEN 'missing' THEN NOT on_disk AND NOT in_bucket
          WHEN 'pending' THEN on_disk AND NOT in_bucket
              AND EXISTS (SELECT 1 FROM bucket_copies AS copy
                          WHERE copy.media_id = media.media_id AND given_up_at IS NULL)
      END
  AND ($4::uuid IS NULL OR media_id > $4)
ORDER BY media_id
LIMIT $5;

-- name: count_failed
SELECT count(*) FROM items JOIN jobs USING (job_id)
WHERE (job_id = $1 OR parent_job_id = $1) AND items.status = 'failed';

-- name: failed_page
SELECT items.media_id, coalesce(media.size_bytes, 0) AS size_bytes, coalesce(media.revision, 0) > 0 AS is_known
FROM items JOIN jobs USING (job_id) LEFT JOIN media ON media.media_id = items.media_id
WHERE (job_id = $1 OR parent_job_id = $1) AND items.status = 'failed' AND ($2::uuid IS NULL OR items.media_id > $2)
ORDER BY items.media_id
LIMIT $3;

-- name: select_media
-- A part that comes when its job has begun comes too late, or again.
INSERT INTO selections (job_id, media_id)
SELECT $1, unnest($2::uuid[]) WHERE NOT EXISTS (SELECT FROM jobs WHERE job_id = $1)
ON CONFLICT DO NOTHING;

-- name: count_selected
SELECT count(*) FROM selections WHERE job_id = $1;

-- name: selected_page
SELECT selected.media_id, coalesce(media.size_bytes, 0) AS size_bytes, coalesce(media.revision, 0) > 0 AS is_known
FROM selections AS selected LEFT JOIN media USING (media_id)
WHERE selected.job_id = $1 AND selected.media_id > $2
ORDER BY selected.media_id
LIMIT $3;

-- name: forget_selected
DELETE FROM selections WHERE (job_id, media_id) IN (SELECT job_id, media_id FROM selections WHERE job_id = $1 LIMIT $2);

-- Of a job that has not ended they stay, however old they are: its plan is made from them.
-- name: prune_selections
DELETE FROM selections
WHERE (job_id, media_id) IN (
    SELECT job_id, media_id FROM selections
    WHERE selected_at < statement_timestamp() - make_interval(secs => $1)
      AND NOT EXISTS (SELECT FROM jobs WHERE jobs.job_id = selections.job_id AND finished_at IS NULL)
    LIMIT $2
);

-- Jobs.

-- name: job
SELECT * FROM jobs WHERE job_id = $1;

-- name: locked_job
SELECT * FROM jobs WHERE job_id = $1 FOR UPDATE;

-- name: make_job
INSERT INTO jobs (job_id, parent_job_id, is_parent, batch_index, batch_size, operation, status, delete_source,
                  rename_prefix, total_files, failed_files, total_bytes, error, retry_of, requested_by, planned,
                  finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
        CASE WHEN $7 IN ('completed', 'failed', 'cancelled') THEN clock_timestamp() END)
RETURNING *;

-- name: make_items
INSERT INTO items (job_id, media_id, status, code, detail, finished_at)
SELECT $1, item.media_id, item.status, item.code, item.detail,
       CASE WHEN item.status <> 'pending' THEN clock_timestamp() END
FROM jsonb_to_recordset($2) AS item (media_id uuid, status text, code text, detail text);

-- The plan's cursor moves in the transaction that makes the child, so a crash plans no file twice and none never. The
-- total is what was counted at first, or more when the selection has grown since.
-- name: note_child
UPDATE jobs
SET children = children + 1, plan_cursor = $2, planned_files = planned_files + $3,
    total_files = greatest(total_files, planned_files + $3), failed_files = failed_files + $4,
    total_bytes = total_bytes + $5, version = version + 1
WHERE job_id = $1
RETURNING *;

-- What left the selection while it was split is no part of the job; a cancelled job keeps what it was meant to be.
-- name: end_plan
UPDATE jobs
SET planned = true, total_files = CASE WHEN cancel_requested THEN total_files ELSE planned_files END,
    version = version + 1
WHERE job_id = $1
RETURNING *;

-- name: start_job
UPDATE jobs SET status = 'active', started_at = clock_timestamp(), version = version + 1
WHERE job_id = $1 AND status = 'waiting'
RETURNING *;

-- name: add_results
UPDATE jobs
SET processed_files = processed_files + $2, failed_files = failed_files + $3, moved_bytes = moved_bytes + $4,
    version = version + 1
WHERE job_id = $1
RETURNING *;

-- name: end_job
UPDATE jobs SET status = $2, finished_at = clock_timestamp(), error = coalesce($3, error), version = version + 1
WHERE job_id = $1 AND finished_at IS NULL
RETURNING *;

-- The parent's row is locked from here to the commit: of several last children one sees the full count.
-- name: count_ended_child
UPDATE jobs SET children_ended = children_ended + 1 WHERE job_id = $1 RETURNING *;

-- name: cancel_job
UPDATE jobs SET cancel_requested = true WHERE job_id = $1 AND finished_at IS NULL;

-- name: cancel_children
UPDATE jobs SET cancel_requested = true WHERE parent_job_id = $1 AND finished_at IS NULL;

-- name: lock_cancelled
SELECT * FROM jobs
WHERE ((job_id = $1 AND NOT is_parent) OR parent_job_id = $1) AND cancel_requested AND finished_at IS NULL
  AND ($2::uuid IS NULL OR job_id > $2)
ORDER BY job_id
LIMIT $3
FOR UPDATE;

-- name: holders
SELECT DISTINCT held_by FROM media WHERE held_by = ANY($1);

-- name: prune_jobs
DELETE FROM jobs
WHERE job_id IN (SELECT job_id FROM jobs
                 WHERE parent_job_id IS NULL AND finished_at < statement_timestamp() - make_interval(secs => $1)
                   AND NOT EXISTS (SELECT 1 FROM removals JOIN jobs AS job USING (job_id)
                                   WHERE jobs.job_id IN (job.job_id, job.parent_job_id))
                 ORDER BY finished_at LIMIT $2);

-- The work of a batch.

-- A medium is held by one job at a time. A hold runs out, unless files of the medium wait for their removal: those are
-- the affair of the job that decided on it.
-- name: hold_pending
WITH free AS (
    SELECT media.media_id FROM items JOIN media USING (media_id)
    WHERE items.job_id = $1 AND items.status = 'pending'
      AND NOT EXISTS (SELECT FROM deletions WHERE deletions.media_id = media.media_id)
      AND (held_by IS NULL OR held_by = $1
           OR (held_until < clock_timestamp()
               AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.media_id = media.media_id)))
    ORDER BY media.media_id
    FOR UPDATE OF media SKIP LOCKED
)
UPDATE media SET held_by = $1, held_until = clock_timestamp() + make_interval(secs => $2)
FROM free WHERE media.media_id = free.media_id
RETURNING media.media_id, revision, files, on_disk, in_bucket;

-- name: count_pending
SELECT count(*) FROM items WHERE job_id = $1 AND status = 'pending';

-- name: renew_holds
UPDATE media SET held_until = clock_timestamp() + make_interval(secs => $2) WHERE held_by = $1;

-- name: release_holds
UPDATE media SET held_by = NULL, held_until = NULL
WHERE held_by = $1 AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.media_id = media.media_id);

-- Only who still holds a medium, in the revision that was worked on, may say where its files are.
-- name: place_media
WITH media_placed AS (
    UPDATE media
    SET files = placed.files, on_disk = placed.on_disk, in_bucket = placed.in_bucket, size_bytes = placed.size_bytes
    FROM jsonb_to_recordset($2) AS placed (media_id uuid, revision integer, files jsonb, on_disk boolean,
                                           in_bucket boolean, size_bytes bigint)
    WHERE media.media_id = placed.media_id AND media.revision = placed.revision AND media.held_by = $1
    RETURNING media.media_id, media.revision, media.on_disk, media.in_bucket, clock_timestamp() AS placed_at
),
copied AS (
    DELETE FROM bucket_copies USING media_placed
    WHERE bucket_copies.media_id = media_placed.media_id AND bucket_copies.revision <= media_placed.revision
      AND (in_bucket OR NOT on_disk)
)
SELECT media_id, placed_at FROM media_placed;

-- A file is counted once, by who takes it out of `pending`.
-- name: end_items
UPDATE items
SET status = ended.status, bytes_moved = ended.bytes_moved, code = ended.code, detail = ended.detail,
    finished_at = clock_timestamp()
FROM jsonb_to_recordset($2) AS ended (media_id uuid, status text, bytes_moved bigint, code text, detail text)
WHERE items.job_id = $1 AND items.media_id = ended.media_id AND items.status = 'pending'
RETURNING items.media_id;

-- name: fail_pending
UPDATE items SET status = 'failed', code = $2, detail = $3, finished_at = clock_timestamp()
WHERE job_id = $1 AND status = 'pending'
RETURNING media_id;

-- name: note_removals
INSERT INTO removals (job_id, media_id, store, key)
SELECT $1, going.media_id, going.store, going.key
FROM jsonb_to_recordset($2) AS going (media_id uuid, store text, key text)
ON CONFLICT DO NOTHING;

-- name: removals_left
SELECT media_id, store, key FROM removals WHERE job_id = $1 ORDER BY media_id, store, key LIMIT 10000;

-- name: ended_jobs_with_removals
SELECT * FROM jobs
WHERE finished_at IS NOT NULL AND job_id IN (SELECT job_id FROM removals)
LIMIT 100;

-- name: forget_removals
DELETE FROM removals WHERE job_id = $1 AND media_id = ANY($2);

-- name: release_media
UPDATE media SET held_by = NULL, held_until = NULL WHERE held_by = $1 AND media_id = ANY($2);

-- local_first.

-- Whoever changes a medium's place or queues its copy locks its row first, so that each sees what the other told.
-- name: lock_medium
SELECT media_id, revision, files, on_disk, in_bucket FROM media WHERE media_id = $1 FOR UPDATE;

-- name: now
SELECT clock_timestamp();

-- name: waiting_copies
SELECT media_id FROM bucket_copies WHERE media_id = ANY($1) AND given_up_at IS NULL;

-- name: copies_waiting
SELECT count(*) FILTER (WHERE given_up_at IS NULL) AS waiting, count(given_up_at) AS given_up,
       coalesce(extract(epoch FROM clock_timestamp() - min(requested_at) FILTER (WHERE given_up_at IS NULL)),
                0)::float8 AS oldest_seconds
FROM bucket_copies;

-- name: want_copy
INSERT INTO bucket_copies (media_id, revision, requested_at)
SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM deletions WHERE deletions.media_id = $1)
ON CONFLICT (media_id) DO UPDATE
SET revision = excluded.revision, requested_at = excluded.requested_at, attempts = 0, due_at = clock_timestamp(),
    given_up_at = NULL, code = NULL, detail = NULL
WHERE bucket_copies.revision < excluded.revision;

-- name: hold_copies
WITH due AS (
    SELECT media.media_id FROM bucket_copies AS copy JOIN media USING (media_id)
    WHERE copy.due_at <= statement_timestamp() AND copy.given_up_at IS NULL AND media.revision >= copy.revision
      AND NOT EXISTS (SELECT FROM deletions WHERE deletions.media_id = media.media_id)
      AND (held_by IS NULL OR held_by = $1
           OR (held_until < clock_timestamp()
               AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.media_id = media.media_id)))
    ORDER BY copy.due_at
    LIMIT $3
    FOR UPDATE OF media SKIP LOCKED
)
UPDATE media SET held_by = $1, held_until = clock_timestamp() + make_interval(secs => $2)
FROM due WHERE media.media_id = due.media_id
RETURNING media.media_id, media.revision, media.files, media.on_disk, media.in_bucket;

-- name: fail_copy
UPDATE bucket_copies
SET attempts = attempts + 1, code = $2, detail = $3, due_at = clock_timestamp() + make_interval(secs => $4 * 2 ^ attempts),
    given_up_at = CASE WHEN attempts + 1 >= $5 THEN clock_timestamp() END
WHERE media_id = $1
RETURNING attempts, given_up_at IS NOT NULL AS is_given_up;
