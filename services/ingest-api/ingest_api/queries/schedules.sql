-- An older fact that comes late changes nothing.
-- name: record
INSERT INTO schedules (name, version, cron, time_zone, missed, is_paused, next_due_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (name) DO UPDATE
SET version = excluded.version, cron = excluded.cron, time_zone = excluded.time_zone, missed = excluded.missed,
    is_paused = excluded.is_paused, next_due_at = excluded.next_due_at, changed_at = excluded.changed_at
WHERE schedules.version < excluded.version;

-- name: record_run
INSERT INTO schedule_runs (id, name, version, trigger, status, due_at, missed, started_at, ended_at, answer_by, counts,
                           answers, owing, needs_approval_because, detail, requested_by, decided_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT (id) DO UPDATE
SET version = excluded.version, status = excluded.status, started_at = excluded.started_at,
    ended_at = excluded.ended_at, answer_by = excluded.answer_by, counts = excluded.counts, answers = excluded.answers,
    owing = excluded.owing, needs_approval_because = excluded.needs_approval_because, detail = excluded.detail,
    decided_by = excluded.decided_by, changed_at = excluded.changed_at
WHERE schedule_runs.version < excluded.version;

-- name: all
SELECT * FROM schedules ORDER BY name;

-- name: get
SELECT * FROM schedules WHERE name = $1;

-- name: lock
SELECT * FROM schedules WHERE name = $1 FOR UPDATE;

-- What was asked for holds until cleanup-scheduler tells what came of it.
-- name: expect
UPDATE schedules SET cron = $2, time_zone = $3, missed = $4, is_paused = $5, next_due_at = $6, changed_at = $7
WHERE name = $1 RETURNING *;

-- name: add_run
INSERT INTO schedule_runs (id, name, trigger, status, due_at, requested_by, changed_at)
VALUES ($1, $2, 'person', 'running', $3, $4, $3)
RETURNING *;

-- name: run
SELECT * FROM schedule_runs WHERE id = $1;

-- name: lock_run
SELECT * FROM schedule_runs WHERE id = $1 FOR UPDATE;

-- name: expect_run
UPDATE schedule_runs SET status = $2, decided_by = $3, changed_at = $4 WHERE id = $1 RETURNING *;

-- name: newest_runs
SELECT * FROM schedule_runs
WHERE ($1::text IS NULL OR name = $1) AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: last_runs
SELECT DISTINCT ON (name) * FROM schedule_runs WHERE name = ANY($1) ORDER BY name, id DESC;

-- name: note_request
INSERT INTO schedule_requests (id, name, request, run_id, changes, requested_by, requested_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: requests
SELECT * FROM schedule_requests
WHERE name = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: remove_ended_runs
WITH over AS (SELECT id FROM schedule_runs WHERE ended_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2),
removed AS (DELETE FROM schedule_runs WHERE id IN (SELECT id FROM over) RETURNING 1)
SELECT count(*) FROM removed;
