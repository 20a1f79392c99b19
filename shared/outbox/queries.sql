-- name: claim
INSERT INTO inbox (consumer, source, claim) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
RETURNING true;

-- name: claim_many
-- In one order, so that transactions that claim several never wait in a circle.
INSERT INTO inbox (consumer, source, claim)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (consumer, source, claim)
ORDER BY consumer, source, claim
ON CONFLICT DO NOTHING
RETURNING consumer, source, claim;

-- name: is_claimed
SELECT true FROM inbox WHERE consumer = $1 AND source = $2 AND claim = $3;

-- name: append
-- And wake the relay: PostgreSQL delivers a NOTIFY when its transaction commits, so never too early.
WITH written AS (
    INSERT INTO outbox (topic, key, headers, payload, traceparent, tracestate, due_at)
    SELECT topic, key, headers::jsonb, payload, traceparent, tracestate,
           CASE WHEN delay_seconds IS NULL THEN NULL ELSE clock_timestamp() + make_interval(secs => delay_seconds) END
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::float8[])
        WITH ORDINALITY AS rows (topic, key, headers, payload, traceparent, tracestate, delay_seconds, position)
    ORDER BY position
)
SELECT pg_notify($8, '') WHERE $8::text IS NOT NULL;

-- name: turn
-- Everything a relay asks between two batches in one round trip: it marks what Kafka has, reads the next of what Kafka
-- has not, and says when the next delayed row is due. All parts see the table as it was before, hence the second look
-- at $2. $3 names what is set aside: "topic/key" is one key, "topic" all its keys. One row comes back even when there is
-- nothing to send.
WITH marked AS (
    UPDATE outbox SET sent_at = clock_timestamp() WHERE id = ANY($2::bigint[])
),
unsent AS (
    (SELECT id, topic, key, headers, payload, traceparent, tracestate, created_at AS ready_at, due_at
     FROM outbox
     WHERE sent_at IS NULL AND due_at IS NULL AND id <> ALL($2::bigint[])
       AND topic <> ALL($3::text[]) AND topic || '/' || key <> ALL($3::text[])
     ORDER BY id
     LIMIT $1)
    UNION ALL
    (SELECT id, topic, key, headers, payload, traceparent, tracestate, due_at, due_at
     FROM outbox
     WHERE sent_at IS NULL AND due_at <= statement_timestamp() AND id <> ALL($2::bigint[])
       AND topic <> ALL($3::text[]) AND topic || '/' || key <> ALL($3::text[])
     ORDER BY due_at, id
     LIMIT $1)
),
later AS (
    SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 AS next_due_seconds
    FROM outbox
    WHERE sent_at IS NULL AND due_at > statement_timestamp()
)
SELECT later.next_due_seconds,
       unsent.id, unsent.topic, unsent.key, unsent.headers, unsent.payload, unsent.traceparent, unsent.tracestate,
       unsent.ready_at
FROM later LEFT JOIN unsent ON true
ORDER BY unsent.due_at NULLS FIRST, unsent.id;

-- name: backlog
SELECT count(*) AS unsent,
       coalesce(extract(epoch FROM clock_timestamp() - min(coalesce(due_at, created_at))), 0)::float8 AS oldest_seconds
FROM outbox WHERE sent_at IS NULL AND (due_at IS NULL OR due_at <= statement_timestamp());

-- name: prune_outbox
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE sent_at < statement_timestamp() - make_interval(secs => $1) ORDER BY sent_at LIMIT $2
);

-- name: prune_inbox
DELETE FROM inbox WHERE ctid IN (
    SELECT ctid FROM inbox WHERE claimed_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY claimed_at LIMIT $2
);

-- name: try_lead
SELECT pg_try_advisory_lock(hashtextextended('mediabus.relay.' || current_schema(), 0));

-- name: set_up_session
-- A mark that a crash of the server takes back means that its message is published twice, which does no harm; waiting
-- for the disk after every batch would hold up the next one. And planning a turn anew takes longer than the turn.
SELECT set_config('synchronous_commit', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false);

-- name: schema
SELECT current_schema();
