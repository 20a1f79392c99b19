-- Media that go for good.

-- From the commit on nobody begins anything with the medium's files: whoever holds media, queues copies or learns of files
-- looks for this row.
-- name: fence
INSERT INTO deletions (media_id, deletion_id, keeps_bucket)
SELECT media_id, deletion_id, keeps_bucket
FROM unnest($1::uuid[], $2::uuid[], $3::boolean[]) AS deleted (media_id, deletion_id, keeps_bucket)
ORDER BY media_id
ON CONFLICT (media_id) DO NOTHING;

-- name: drop_copies
DELETE FROM bucket_copies WHERE media_id = ANY($1::uuid[]);

-- A command that comes twice has the places looked at, and is answered, once more.
-- name: command
INSERT INTO deletions (media_id, deletion_id, keeps_bucket, keys, staging_keys, due_at, wanted)
SELECT media_id, deletion_id, keeps_bucket, keys, staging_keys, clock_timestamp(), 1
FROM jsonb_to_recordset($1::jsonb)
    AS wanted (media_id uuid, deletion_id uuid, keeps_bucket boolean, keys text[], staging_keys text[])
ORDER BY media_id
ON CONFLICT (media_id) DO UPDATE
SET keys = excluded.keys, staging_keys = excluded.staging_keys, due_at = excluded.due_at,
    wanted = deletions.wanted + 1, attempts = 0;

-- What was in hand when the medium was given up, or comes late, may have left files.
-- name: look_again
UPDATE deletions SET due_at = clock_timestamp(), wanted = wanted + 1, attempts = 0
WHERE media_id = ANY($1::uuid[]) AND keys IS NOT NULL;

-- name: deleted_among
SELECT media_id FROM deletions WHERE media_id = ANY($1::uuid[]);

-- Not while somebody works on the medium's files: what he began before the fence may still write. A hold that has run
-- out counts no more, whatever removals its job has left: those go here.
-- name: take_due
WITH due AS (
    SELECT deletions.media_id FROM deletions LEFT JOIN media USING (media_id)
    WHERE due_at <= statement_timestamp() AND keys IS NOT NULL
      AND (media.held_by IS NULL OR media.held_until < clock_timestamp()
           OR EXISTS (SELECT FROM removals WHERE removals.media_id = deletions.media_id
                      AND removals.job_id IN (SELECT job_id FROM jobs WHERE finished_at IS NOT NULL)))
    ORDER BY due_at
    LIMIT $1
    FOR UPDATE OF deletions SKIP LOCKED
)
UPDATE deletions SET due_at = clock_timestamp() + make_interval(secs => $2)
FROM due WHERE deletions.media_id = due.media_id
RETURNING deletions.media_id, deletion_id, keeps_bucket, keys, staging_keys, files, wanted, attempts, told_trouble;

-- name: known_keys
SELECT file ->> 'key' AS key FROM media, jsonb_array_elements(files) AS file WHERE media_id = $1
UNION
SELECT file ->> 'key' FROM superseded, jsonb_array_elements(files) AS file WHERE media_id = $1
UNION
SELECT key FROM removals WHERE media_id = $1;

-- name: is_in_bucket
SELECT in_bucket FROM media WHERE media_id = $1;

-- Two processes at work on one medium, the first of which was taken for dead, add up.
-- name: note_files
UPDATE deletions
SET files = (SELECT coalesce(jsonb_agg(DISTINCT file), '[]') FROM jsonb_array_elements(files || $2::jsonb) AS file)
WHERE media_id = $1;

-- name: is_held
SELECT held_by IS NOT NULL AND held_until >= clock_timestamp()
   AND NOT EXISTS (SELECT FROM removals WHERE removals.media_id = media.media_id
                   AND removals.job_id IN (SELECT job_id FROM jobs WHERE finished_at IS NOT NULL))
FROM media WHERE media_id = $1
FOR UPDATE OF media;

-- name: forget
-- What a batch has not yet counted stays: the batch counts it as failed.
WITH gone_media AS (DELETE FROM media WHERE media_id = $1 RETURNING 1),
gone_copies AS (DELETE FROM bucket_copies WHERE media_id = $1 RETURNING 1),
gone_superseded AS (DELETE FROM superseded WHERE media_id = $1 RETURNING 1),
gone_removals AS (DELETE FROM removals WHERE media_id = $1 RETURNING 1),
gone_items AS (DELETE FROM items WHERE media_id = $1 AND status <> 'pending' RETURNING 1)
SELECT (SELECT count(*) FROM gone_media) + (SELECT count(*) FROM gone_copies)
     + (SELECT count(*) FROM gone_superseded) + (SELECT count(*) FROM gone_removals)
     + (SELECT count(*) FROM gone_items);

-- name: end
UPDATE deletions
SET due_at = CASE WHEN wanted = $2 THEN NULL ELSE clock_timestamp() END, records = records + $3,
    attempts = 0, told_trouble = NULL, ended_at = clock_timestamp()
WHERE media_id = $1
RETURNING records, files, ended_at;

-- name: put_off
UPDATE deletions
SET due_at = clock_timestamp() + make_interval(secs => $2), attempts = attempts + 1, told_trouble = $3
WHERE media_id = $1
RETURNING attempts, due_at, clock_timestamp() AS now;

-- name: pending_deleted
SELECT items.media_id FROM items JOIN deletions USING (media_id)
WHERE items.job_id = $1 AND items.status = 'pending'
LIMIT $2;

-- name: remove_late_rows
-- What was written by a transaction that had begun before the fence, and what batches have counted since.
WITH late AS (
    SELECT media_id FROM deletions WHERE ended_at > statement_timestamp() - make_interval(secs => $1)
),
gone_media AS (DELETE FROM media USING late WHERE media.media_id = late.media_id),
gone_copies AS (DELETE FROM bucket_copies USING late WHERE bucket_copies.media_id = late.media_id),
gone_superseded AS (DELETE FROM superseded USING late WHERE superseded.media_id = late.media_id)
DELETE FROM items USING late WHERE items.media_id = late.media_id AND items.status <> 'pending';

-- name: prune
DELETE FROM deletions WHERE media_id IN (
    SELECT media_id FROM deletions
    WHERE ended_at < statement_timestamp() - make_interval(secs => $1) AND due_at IS NULL
    LIMIT $2
);
