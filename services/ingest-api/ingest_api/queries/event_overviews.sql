-- Of each event a picture, and how much there is of what people look for; photos are counted up to a limit, for an event
-- may have hundreds of thousands.
-- name: overviews
SELECT event.id, cover.s3_key AS cover_key, counted.photos, asked.requests
FROM unnest($1::uuid[]) AS event(id)
LEFT JOIN LATERAL (
    SELECT s3_key FROM event_photos
    WHERE event_id = event.id AND status <> 'removed' AND hidden_at IS NULL
    ORDER BY id LIMIT 1
) AS cover ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS photos FROM (
        SELECT 1 FROM event_photos WHERE event_id = event.id AND status <> 'removed' AND hidden_at IS NULL LIMIT $2
    ) AS up_to_limit
) AS counted
CROSS JOIN LATERAL (
    SELECT count(*) AS requests FROM face_erasures
    WHERE event_id = event.id AND gallery_id IS NOT NULL AND confirmed_at IS NULL AND refused_at IS NULL
      AND expires_at > clock_timestamp()
) AS asked;

-- name: photos_by_status
SELECT status, count(*) AS photos FROM event_photos
WHERE event_id = $1 AND status <> 'removed' AND hidden_at IS NULL
GROUP BY status;

-- name: unfinished_removals
SELECT event.id, event.name, removal.files_removed, removal.removes_files
FROM event_removals AS removal JOIN photo_events AS event ON event.id = removal.event_id
WHERE removal.completed_at IS NULL AND ($1::uuid IS NULL OR event.owner = $1)
ORDER BY removal.asked_at DESC
LIMIT $2;
