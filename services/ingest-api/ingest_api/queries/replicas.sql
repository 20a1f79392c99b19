-- An older word that comes late changes nothing: nor does it bring back a process that has said farewell, so the row of
-- that one stays for a while.
-- name: record
INSERT INTO replicas (service, instance, version, started_at, told_at, every_seconds, is_ready, problems, lag_messages,
                      outbox_waiting, is_stopped)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (service, instance) DO UPDATE
SET version = excluded.version, started_at = excluded.started_at, told_at = excluded.told_at,
    every_seconds = excluded.every_seconds, is_ready = excluded.is_ready, problems = excluded.problems,
    lag_messages = excluded.lag_messages, outbox_waiting = excluded.outbox_waiting, is_stopped = excluded.is_stopped
WHERE replicas.told_at < excluded.told_at;

-- name: heard_within
SELECT service, instance, version, started_at, told_at, every_seconds, is_ready, problems, lag_messages, outbox_waiting
FROM replicas
WHERE NOT is_stopped AND told_at > statement_timestamp() - make_interval(secs => $1)
ORDER BY service, started_at, instance
LIMIT $2;

-- name: remove_silent
-- The condition again in the outer statement: one that is heard in this moment stays.
DELETE FROM replicas
WHERE told_at < statement_timestamp() - make_interval(secs => $1) AND (service, instance) IN (
    SELECT service, instance FROM replicas WHERE told_at < statement_timestamp() - make_interval(secs => $1) LIMIT $2
);
