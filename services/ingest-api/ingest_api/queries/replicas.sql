-- An older word that comes late changes nothing.
-- name: record
INSERT INTO replicas (service, instance, version, started_at, told_at, every_seconds, is_ready, problems, lag_messages,
                      outbox_waiting)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (service, instance) DO UPDATE
SET version = excluded.version, started_at = excluded.started_at, told_at = excluded.told_at,
    every_seconds = excluded.every_seconds, is_ready = excluded.is_ready, problems = excluded.problems,
    lag_messages = excluded.lag_messages, outbox_waiting = excluded.outbox_waiting
WHERE replicas.told_at < excluded.told_at;

-- name: remove
DELETE FROM replicas WHERE service = $1 AND instance = $2;

-- name: heard_within
SELECT service, instance, version, started_at, told_at, every_seconds, is_ready, problems, lag_messages, outbox_waiting
FROM replicas
WHERE told_at > statement_timestamp() - make_interval(secs => $1)
ORDER BY service, started_at, instance
LIMIT $2;

-- name: remove_silent
DELETE FROM replicas WHERE told_at < statement_timestamp() - make_interval(secs => $1);
