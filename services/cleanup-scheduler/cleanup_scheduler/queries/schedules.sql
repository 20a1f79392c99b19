-- What people set stays; what nobody changed follows the definitions of this version and its settings.
-- name: arrange
INSERT INTO schedules (name, cron, time_zone, missed, next_due_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE
SET cron = excluded.cron, time_zone = excluded.time_zone, missed = excluded.missed,
    next_due_at = excluded.next_due_at, version = schedules.version + 1, changed_at = excluded.changed_at
WHERE NOT schedules.is_customised
  AND (schedules.cron, schedules.time_zone, schedules.missed)
      IS DISTINCT FROM (excluded.cron, excluded.time_zone, excluded.missed)
RETURNING *;

-- Whoever holds the row decides what is fired; the others pass over it. With $3 also those that a wrong clock fired.
-- name: lock_due
SELECT * FROM schedules
WHERE NOT is_paused AND name = ANY($1) AND (next_due_at <= $2 OR last_due_at > $3)
ORDER BY next_due_at LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: lock
SELECT * FROM schedules WHERE name = $1 FOR UPDATE;

-- name: next_due
SELECT min(next_due_at) FROM schedules WHERE NOT is_paused AND name = ANY($1);

-- name: move_on
UPDATE schedules SET next_due_at = $2, last_due_at = $3, version = version + 1, changed_at = $4
WHERE name = $1 RETURNING *;

-- name: change
UPDATE schedules
SET cron = $2, time_zone = $3, missed = $4, is_paused = $5, next_due_at = $6, is_customised = true,
    version = version + 1, changed_at = $7
WHERE name = $1 RETURNING *;

-- name: wake
SELECT pg_notify($1, '');
