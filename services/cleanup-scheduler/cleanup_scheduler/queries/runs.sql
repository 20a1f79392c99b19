-- Nothing where the clock's due time has its run already.
-- name: add
INSERT INTO runs (run_id, name, trigger, status, due_at, missed, started_at, ended_at, answer_by, owing, detail,
                  requested_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING
RETURNING *;

-- name: lock
SELECT * FROM runs WHERE run_id = $1 FOR UPDATE;

-- name: save
UPDATE runs
SET status = $2, started_at = $3, ended_at = $4, answer_by = $5, owing = $6, needs_approval_because = $7, detail = $8,
    decided_by = $9, changed_at = $10, version = version + 1
WHERE run_id = $1 RETURNING *;

-- name: lock_late
SELECT * FROM runs WHERE status = 'running' AND answer_by <= $1
ORDER BY answer_by LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: next_deadline
SELECT min(answer_by) FROM runs WHERE status = 'running';

-- The first answer of a service counts.
-- name: add_answer
INSERT INTO answers (run_id, service, counts, error, ended_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
RETURNING true;

-- name: answers
SELECT service, counts, error, ended_at FROM answers WHERE run_id = $1 ORDER BY ended_at, service;

-- name: prune
WITH over AS (
    SELECT run_id FROM runs
    WHERE ended_at < $1 ORDER BY ended_at LIMIT $2
),
removed AS (DELETE FROM runs WHERE run_id IN (SELECT run_id FROM over) RETURNING 1)
SELECT count(*) FROM removed;
