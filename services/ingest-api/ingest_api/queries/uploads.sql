-- name: record_upload
-- One statement, so one round trip and one commit, for what must be there together: medium, job, outgoing events and
-- the claim of the Idempotency-Key. Of two requests with one key, the later waits here for the earlier one's commit and
-- then writes nothing. A relay of another process is woken in the same breath, on channel $23: a second round trip costs
-- more. Where it runs in this process $23 is null, for transactions that notify commit one after the other, each with
-- its own wait for the disk.
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
SELECT count(*) > 0, count(CASE WHEN $23::text IS NOT NULL THEN pg_notify($23, '') END) FROM admitted;

-- name: record_bulk
-- As one upload is recorded, with all pictures of a bulk upload in the one statement: parent and jobs are there together
-- or not at all, so a parent without a job is one whose jobs are gone.
WITH parent AS (
    INSERT INTO bulk_jobs (id, uploader) VALUES ($1, $2)
),
items AS (
    INSERT INTO bulk_items (bulk_id, position, filename, job_id, media_id, error_code, error_detail)
    SELECT $1, item.position, item.filename, item.job_id, item.media_id, item.error_code, item.error_detail
    FROM jsonb_to_recordset($3::jsonb)
        AS item (position integer, filename text, job_id uuid, media_id uuid, error_code text, error_detail text)
),
uploads AS (
    SELECT * FROM jsonb_to_recordset($4::jsonb) AS upload (
        media_id uuid, job_id uuid, uploader uuid, filename text, mime_type text, size_bytes bigint, sha256 text,
        entity_type text, entity_id text, alt text, title text, private boolean, storage_strategy text,
        staging_key text, received_at timestamptz)
),
new_media AS (
    INSERT INTO media (id, uploaded_by, filename, mime_type, size_bytes, sha256, entity_type, entity_id, alt, title,
                       private, storage_strategy, created_at, updated_at)
    SELECT media_id, uploader, filename, mime_type, size_bytes, sha256, entity_type, entity_id, alt, title,
           private, storage_strategy, received_at, received_at FROM uploads
),
new_jobs AS (
    INSERT INTO jobs (id, media_id, revision, uploader, entity_type, staging_key, traceparent, created_at)
    SELECT job_id, media_id, 1, uploader, entity_type, staging_key, $5, received_at FROM uploads
),
outgoing AS (
    INSERT INTO outbox (topic, key, headers, payload, traceparent, tracestate)
    SELECT rows.topic, rows.key, rows.headers::jsonb, rows.payload, $5, $6
    FROM unnest($7::text[], $8::text[], $9::text[], $10::bytea[])
        WITH ORDINALITY AS rows (topic, key, headers, payload, position)
    ORDER BY rows.position
)
SELECT pg_notify($11, '');

-- name: first_use
SELECT sha256, job_id, media_id FROM idempotency_keys WHERE user_id = $1 AND key = $2;

-- name: pending_uploads
SELECT count(*) FROM (
    SELECT FROM jobs WHERE status IN ('waiting', 'active') AND kind = 'upload' LIMIT $1
) AS pending;
