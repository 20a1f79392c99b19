-- name: add
INSERT INTO tasks (task_id, event_id, s3_prefix) VALUES ($1, $2, $3) ON CONFLICT (task_id) DO NOTHING RETURNING *;

-- name: wake
SELECT pg_notify('tasks_' || current_schema(), '');

-- The task that waits longest. Until the lease is over nobody else takes it; then whoever holds it is taken for dead.
-- name: claim
UPDATE tasks SET due_at = clock_timestamp() + make_interval(secs => $1)
WHERE task_id = (SELECT task_id FROM tasks WHERE status = 'listing' AND due_at <= statement_timestamp()
                 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: put_off
UPDATE tasks SET due_at = clock_timestamp() + make_interval(secs => $2) WHERE task_id = $1 AND status = 'listing';

-- Only from where the listing was left: whoever was taken for dead, and goes on all the same, changes nothing.
-- name: advance
UPDATE tasks
SET cursor = $4, total_found = total_found + $5 + $6, new_photos = new_photos + $5 + $7, skipped = skipped + $6 - $7,
    version = version + 1, changed_at = clock_timestamp()
WHERE task_id = $1 AND status = 'listing' AND folder = $2 AND cursor = $3
RETURNING *;

-- name: next_folder
UPDATE tasks SET folder = 'originals', cursor = '' WHERE task_id = $1 AND status = 'listing' AND folder = 'previews'
RETURNING *;

-- name: end_listing
UPDATE tasks
SET status = 'indexing', due_at = NULL, version = version + 1, changed_at = clock_timestamp(),
    originals_missing = (SELECT count(*) FROM task_photos WHERE task_id = $1 AND NOT has_original)
WHERE task_id = $1 AND status = 'listing' AND folder = 'originals' AND cursor = $2
RETURNING *;

-- name: complete
UPDATE tasks SET status = 'completed', message = $2, version = version + 1, changed_at = clock_timestamp()
WHERE task_id = $1
RETURNING *;

-- name: fail
UPDATE tasks
SET status = 'failed', due_at = NULL, message = $2, version = version + 1, changed_at = clock_timestamp()
WHERE task_id = $1 AND status = 'listing'
RETURNING *;

-- name: note_failure
UPDATE tasks
SET listing_failures = listing_failures + 1, due_at = clock_timestamp() + make_interval(secs => $2)
WHERE task_id = $1 AND status = 'listing'
RETURNING *;

-- name: skip
INSERT INTO task_photos (task_id, photo_id, generation, state, has_original)
SELECT $1, photo_id, generation, 'skipped', has_original
FROM unnest($2::uuid[], $3::integer[], $4::boolean[]) AS found (photo_id, generation, has_original)
ON CONFLICT (task_id, photo_id) DO UPDATE SET has_original = task_photos.has_original OR excluded.has_original
RETURNING xmax = 0 AS is_new;

-- A photo that was skipped for its preview may have to be done for its original.
-- name: await
INSERT INTO task_photos (task_id, photo_id, generation, state, has_original)
SELECT $1, photo_id, generation, 'waiting', $4
FROM unnest($2::uuid[], $3::integer[]) AS found (photo_id, generation)
ON CONFLICT (task_id, photo_id) DO UPDATE
SET state = 'waiting', generation = excluded.generation, has_original = task_photos.has_original OR excluded.has_original
WHERE task_photos.state = 'skipped'
RETURNING xmax = 0 AS is_new;

-- name: without_original
SELECT photo.photo_id FROM task_photos AS found JOIN photos AS photo USING (photo_id)
WHERE found.task_id = $1 AND NOT found.has_original AND photo.image_key IS NOT NULL
ORDER BY photo.photo_id
FOR UPDATE OF photo;

-- Every task that waits for this content of a photo or an older one counts it, once. What is told in between is told at
-- most so often; what it comes to is told by `complete`. Tasks are locked in one order everywhere.
-- name: settle
WITH settled AS (
    UPDATE task_photos SET state = 'done' WHERE photo_id = $1 AND generation <= $2 AND state = 'waiting'
    RETURNING task_id
), before AS (
    SELECT task_id, changed_at < clock_timestamp() - make_interval(secs => $7) AS is_told
    FROM tasks WHERE task_id IN (SELECT task_id FROM settled) ORDER BY task_id FOR UPDATE
)
UPDATE tasks
SET processed = processed + $3, failed = failed + $4, no_face = no_face + $5, previews_made = previews_made + $6,
    version = CASE WHEN is_told THEN version + 1 ELSE version END,
    changed_at = CASE WHEN is_told THEN clock_timestamp() ELSE changed_at END
FROM before
WHERE tasks.task_id = before.task_id
RETURNING tasks.*, is_told;

-- name: prune
DELETE FROM tasks WHERE task_id IN (
    SELECT task_id FROM tasks
    WHERE status IN ('completed', 'failed') AND changed_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2);
