-- name: recent_pictures
-- Each medium with its newest job; a job that retention has removed leaves its columns null.
SELECT media.id, media.revision, media.status, media.filename, media.title, media.alt, media.mime_type, media.size_bytes,
       media.width_px, media.height_px, media.entity_type, media.private, media.storage_status, media.variants,
       media.placeholder, media.created_at,
       job.status AS job_status, job.progress, job.attempts, job.error_code, job.error_detail,
       extract(epoch FROM job.finished_at - job.created_at)::float8 AS seconds_to_finish
FROM media
LEFT JOIN LATERAL (
    SELECT jobs.status, jobs.progress, jobs.attempts, jobs.error_code, jobs.error_detail, jobs.created_at, jobs.finished_at
    FROM jobs WHERE jobs.media_id = media.id ORDER BY jobs.id DESC LIMIT 1
) AS job ON true
WHERE media.deleted_at IS NULL AND ($1::uuid IS NULL OR media.id < $1) AND ($2::uuid IS NULL OR media.uploaded_by = $2)
ORDER BY media.id DESC
LIMIT $3;
