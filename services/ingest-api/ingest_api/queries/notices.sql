-- name: add
-- The row of the stream stays locked until the commit, which is what puts the numbers of one uploader in order.
WITH stream AS (
    INSERT INTO notice_streams (uploader, last_id) VALUES ($1, 1)
    ON CONFLICT (uploader) DO UPDATE SET last_id = notice_streams.last_id + 1
    RETURNING last_id
),
notice AS (
    INSERT INTO notices (uploader, id, type, job_id, media_id, body, traceparent)
    SELECT $1, last_id, $2, $3, $4, $5, $6 FROM stream
    RETURNING id
)
SELECT pg_notify('notices_' || current_schema(), $1::text || ' ' || $3::text) FROM notice;

-- name: after
SELECT id, type, job_id, media_id, body, traceparent FROM notices
WHERE uploader = $1 AND id > $2
ORDER BY id
LIMIT $3;

-- name: last_id
SELECT coalesce((SELECT last_id FROM notice_streams WHERE uploader = $1), 0);

-- name: prune
-- The oldest first: in any other order each batch would look through the pages that those before it have emptied.
DELETE FROM notices WHERE ctid IN (
    SELECT ctid FROM notices
    WHERE created_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY created_at
    LIMIT $2
);
