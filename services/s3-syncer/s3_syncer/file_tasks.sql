-- File tasks: the queue of every scope.

-- name: arrive_file_task
INSERT INTO file_tasks (task_id, scope, steps, is_atomic) VALUES ($1, $2, $3, $4)
ON CONFLICT (task_id) DO NOTHING;

-- name: file_task
SELECT task_id, scope, steps, is_atomic, records, verdict, results, ended_at FROM file_tasks WHERE task_id = $1;

-- One head per scope: the row's lock lets one holder in, and whoever waited for it looks at the head that is then.
-- name: hold_file_task
UPDATE file_tasks SET held_by = $2, held_until = clock_timestamp() + make_interval(secs => $3)
WHERE task_id = (SELECT task_id FROM file_tasks WHERE scope = $1 AND ended_at IS NULL
                 ORDER BY position LIMIT 1 FOR UPDATE)
  AND (held_by IS NULL OR held_by = $2 OR held_until < clock_timestamp())
RETURNING task_id, scope, steps, is_atomic, records, verdict, results, ended_at;

-- name: renew_file_task
UPDATE file_tasks SET held_until = clock_timestamp() + make_interval(secs => $3)
WHERE task_id = $1 AND held_by = $2 AND ended_at IS NULL
RETURNING true;

-- name: note_file_task
UPDATE file_tasks SET records = $3, verdict = $4
WHERE task_id = $1 AND held_by = $2 AND ended_at IS NULL
RETURNING true;

-- name: end_file_task
UPDATE file_tasks
SET results = $3, verdict = $4, ended_at = $5, held_by = NULL, held_until = NULL, steps = '[]', records = '[]'
WHERE task_id = $1 AND (held_by = $2 OR $2 IS NULL) AND ended_at IS NULL
RETURNING true;

-- name: succeeded_file_tasks
SELECT task_id FROM file_tasks WHERE task_id = ANY($1::uuid[]) AND ended_at IS NOT NULL AND verdict = 'succeeded';

-- name: release_file_tasks
UPDATE file_tasks SET held_by = NULL, held_until = NULL WHERE held_by = $1;

-- name: prune_file_tasks
DELETE FROM file_tasks WHERE task_id IN (
    SELECT task_id FROM file_tasks WHERE ended_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2
);
