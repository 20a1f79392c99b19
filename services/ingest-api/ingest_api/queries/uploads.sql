-- name: record_upload
-- One statement, so one round trip and one commit, for what must be there together: medium, job, outgoing events and
-- the claim of the Idempotency-Key. Of two requests with one key, the later waits here for the earlier one's commit and
-- then writes nothing. The relay is woken in the same breath: transactions that notify commit one after the other, but a
-- second round trip costs more than that.
WITH claimed AS (
    INSERT INTO idempotency_keys (user_id, key, sha256, job_id, media_id)
    SELECT $3, $16, $7, $2, $1 WHERE $16::text IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING true
),
admitted AS (
    SELECT 1 WHERE $16::text IS NULL OR EXISTS (SELECT FROM claimed)
),
new_media AS (
    INSERT INTO media (id, uploaded_by, filename, mime_type, size_bytes, sha256, entity_type, entity_id, alt, title,
                       private, storage_strategy, created_at, updated_at)
    SELECT $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $15, $15 FROM admitted
),
new_job AS (
    INSERT INTO jobs (id, media_id, revision, uploader, entity_type, staging_key, traceparent, created_at)
    SELECT $2, $1, 1, $3, $8, $14, $17, $15 FROM admitted
),
outgoing AS (
    INSERT INTO outbox (topic, key, headers, payload, traceparent, tracestate)
    SELECT rows.topic, rows.key, rows.headers::jsonb, rows.payload, $17, $18
    FROM admitted, unnest($19::text[], $20::text[], $21::text[], $22::bytea[])
        WITH ORDINALITY AS rows (topic, key, headers, payload, position)
    ORDER BY rows.position
)
SELECT count(pg_notify($23, '')) > 0 FROM admitted;

-- name: first_use
SELECT sha256, job_id, media_id FROM idempotency_keys WHERE user_id = $1 AND key = $2;

-- name: pending_uploads
SELECT count(*) FROM (SELECT FROM jobs WHERE status IN ('waiting', 'active') LIMIT $1) AS pending;
