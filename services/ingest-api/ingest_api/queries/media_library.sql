-- name: newest_jobs
SELECT wanted.media_id, job.*
FROM unnest($1::uuid[]) AS wanted (media_id)
CROSS JOIN LATERAL (
    SELECT jobs.id, jobs.status, jobs.progress, jobs.attempts, jobs.error_code, jobs.error_detail
    FROM jobs WHERE jobs.media_id = wanted.media_id ORDER BY jobs.id DESC LIMIT 1
) AS job;

-- name: entity_types
-- Hops from one type to the next, however many media each has.
WITH RECURSIVE types AS (
    (SELECT entity_type, 1 AS place FROM media ORDER BY entity_type LIMIT 1)
    UNION ALL
    SELECT (SELECT media.entity_type FROM media WHERE media.entity_type > types.entity_type ORDER BY media.entity_type LIMIT 1),
           types.place + 1
    FROM types WHERE types.entity_type IS NOT NULL AND types.place < $1
)
SELECT entity_type FROM types WHERE entity_type IS NOT NULL;
