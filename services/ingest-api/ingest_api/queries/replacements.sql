-- name: begin
-- The revision is above all that were given out, so of several wishes the latest wins, whichever is rendered first.
WITH given AS (
    UPDATE media SET last_revision = $4, replacing_revision = $4 WHERE id = $1
)
INSERT INTO jobs (id, media_id, revision, uploader, entity_type, staging_key, traceparent, created_at, replacement)
VALUES ($2, $1, $4, $3, $5, $6, $7, $8, $9);
