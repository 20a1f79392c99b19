-- name: record_image
INSERT INTO images (media_id, revision, job_id, files, on_disk, in_bucket, width_px, height_px, attempt, render_seconds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (media_id, revision) DO UPDATE
SET job_id = excluded.job_id, files = excluded.files, on_disk = excluded.on_disk, in_bucket = excluded.in_bucket,
    width_px = excluded.width_px, height_px = excluded.height_px, attempt = excluded.attempt,
    render_seconds = excluded.render_seconds, recorded_at = clock_timestamp();

-- name: newest_files
SELECT files FROM images WHERE media_id = $1 ORDER BY revision DESC LIMIT 1;

-- name: note_removal
INSERT INTO staging_removals (staging_key) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: removals_left
SELECT staging_key FROM staging_removals
WHERE noted_at < statement_timestamp() - make_interval(secs => $1)
ORDER BY noted_at
LIMIT $2;

-- name: forget_removal
DELETE FROM staging_removals WHERE staging_key = $1;

-- Who records a rendering and who forgets the medium lock the same id first: either the rendering is recorded, and told,
-- before the medium is forgotten, or it finds the medium deleted.
-- name: lock_medium
SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0));

-- The same for several media, in one order, so that nobody waits in a circle.
-- name: lock_media
SELECT pg_advisory_xact_lock(hashtextextended(media_id::text, 0))
FROM (SELECT DISTINCT media_id FROM unnest($1::uuid[]) AS wanted (media_id) ORDER BY media_id) AS in_order;

-- name: is_deleted
SELECT EXISTS (SELECT FROM deleted_media WHERE media_id = $1);

-- name: note_deleted
INSERT INTO deleted_media (media_id, deletion_id)
SELECT media_id, deletion_id FROM unnest($1::uuid[], $2::uuid[]) AS deleted (media_id, deletion_id)
ORDER BY media_id
ON CONFLICT DO NOTHING;

-- name: forget_media
WITH gone AS (DELETE FROM images WHERE media_id = ANY($1::uuid[]) RETURNING media_id)
SELECT media_id, count(*) AS records FROM gone GROUP BY media_id;

-- name: prune_deleted
DELETE FROM deleted_media WHERE known_at < statement_timestamp() - make_interval(secs => $1);

-- name: note_cancelled
INSERT INTO cancelled_rerenders (parent_job_id) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: is_cancelled
SELECT EXISTS (SELECT FROM cancelled_rerenders WHERE parent_job_id = $1);

-- name: prune_cancelled
DELETE FROM cancelled_rerenders WHERE known_at < statement_timestamp() - make_interval(secs => $1);
