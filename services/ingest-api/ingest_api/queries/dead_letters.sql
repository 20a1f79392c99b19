-- A letter that comes again is known: what was decided about it stays.
-- name: record
INSERT INTO dead_letters (id, service, topic, partition, "offset", key, type, event_id, code, detail, attempts, trace_id,
                          replay_of, dead_lettered_at, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (id) DO NOTHING;

-- name: note_settled
UPDATE dead_letters SET state = $2, settled_at = $3 WHERE id = $1 AND state = 'open';

-- name: remove_without_word
DELETE FROM dead_letters WHERE id = $1 AND state = 'open';

-- name: newest
SELECT id, service, state, topic, partition, "offset", key, type, event_id, code, detail, attempts, trace_id, replay_of,
       (SELECT again.id FROM dead_letters AS again WHERE again.replay_of = letter.id
        ORDER BY again.dead_lettered_at LIMIT 1) AS replayed_as,
       dead_lettered_at, settled_at, settled_by
FROM dead_letters AS letter
WHERE ($1::text IS NULL OR service = $1) AND ($2::text IS NULL OR topic = $2) AND ($3::text IS NULL OR state = $3)
  AND ($4::timestamptz IS NULL OR (dead_lettered_at, id) < ($4, $5::uuid))
ORDER BY dead_lettered_at DESC, id DESC
LIMIT $6;

-- name: get
SELECT id, service, state, topic, partition, "offset", key, type, event_id, code, detail, attempts, trace_id, replay_of,
       (SELECT again.id FROM dead_letters AS again WHERE again.replay_of = letter.id
        ORDER BY again.dead_lettered_at LIMIT 1) AS replayed_as,
       dead_lettered_at, settled_at, settled_by
FROM dead_letters AS letter
WHERE id = $1;

-- name: message
SELECT headers, payload FROM dead_letters WHERE id = $1;

-- name: lock
SELECT state FROM dead_letters WHERE id = $1 FOR UPDATE;

-- name: settle
UPDATE dead_letters SET state = $2, settled_by = $3, settled_at = $4 WHERE id = $1;

-- name: note_decision
INSERT INTO dead_letter_decisions (id, letter_id, service, type, code, decision, decided_by, decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: open_by_service
SELECT service, count(*) AS letters FROM dead_letters WHERE state = 'open' GROUP BY service;

-- Those that are over, and of the others the oldest beyond so many.
-- name: remove_old
WITH over AS (
    (SELECT id FROM dead_letters WHERE dead_lettered_at < statement_timestamp() - make_interval(secs => $1) LIMIT $3)
    UNION
    (SELECT id FROM dead_letters ORDER BY dead_lettered_at DESC, id DESC OFFSET $2 LIMIT $3)
),
removed AS (DELETE FROM dead_letters WHERE id IN (SELECT id FROM over LIMIT $3) RETURNING 1)
SELECT count(*) FROM removed;
