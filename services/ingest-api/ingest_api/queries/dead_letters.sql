-- A letter that comes again is known: what was decided about it stays.
-- name: record
INSERT INTO dead_letters (id, service, topic, partition, "offset", key, type, event_id, code, detail, attempts, trace_id,
                          replay_of, dead_lettered_at, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (id) DO NOTHING
RETURNING size_bytes;

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

-- What is over, and of the others the oldest: beyond so many, or beside newer ones that are as many bytes as are kept.
-- name: remove_over
WITH ranked AS (
    SELECT id, dead_lettered_at, row_number() OVER newest AS place, sum(size_bytes) OVER newest AS bytes
    FROM dead_letters
    WINDOW newest AS (ORDER BY dead_lettered_at DESC, id DESC ROWS UNBOUNDED PRECEDING)
),
over AS (
    SELECT id, CASE WHEN dead_lettered_at < statement_timestamp() - make_interval(secs => $1) THEN 'age'
                    WHEN place > $2 THEN 'number' ELSE 'bytes' END AS reason
    FROM ranked
    WHERE dead_lettered_at < statement_timestamp() - make_interval(secs => $1) OR place > $2 OR bytes > $3
    ORDER BY dead_lettered_at, id
    LIMIT $4
),
-- Waiting for nobody, it stands in no circle of those who wait: what others hold just now goes the next time.
free AS (
    SELECT dead_letters.id, reason FROM over JOIN dead_letters USING (id) FOR UPDATE OF dead_letters SKIP LOCKED
),
removed AS (DELETE FROM dead_letters USING free WHERE dead_letters.id = free.id RETURNING reason, state)
SELECT reason, count(*) AS letters, count(*) FILTER (WHERE state = 'open') AS open_letters FROM removed GROUP BY reason;

-- Until the transaction ends its deletion is not completed: that removes the record.
-- name: hold_medium
SELECT true FROM media WHERE id = $1 FOR KEY SHARE;

-- name: is_gone
SELECT EXISTS (SELECT FROM media_deletions WHERE media_id = $1 AND stage = 'completed');

-- name: remove_of_media
DELETE FROM dead_letters
WHERE key = ANY($1::text[]) AND octet_length(key) = 36 AND NOT coalesce(type, '') = ANY($2::text[])
RETURNING id, service, state;
