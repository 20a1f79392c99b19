-- name: add
INSERT INTO face_syncs (id, event_id, s3_prefix, message, requested_at, watchers) VALUES ($1, $2, $3, $4, $5, $6);

-- name: join_running
UPDATE face_syncs SET watchers = CASE WHEN $2 = ANY(watchers) THEN watchers ELSE watchers || $2::uuid END
WHERE event_id = $1 AND finished_at IS NULL
RETURNING id;

-- name: get
SELECT sync.id, sync.event_id, event.number, sync.s3_prefix, sync.status, sync.total_found, sync.new_photos, sync.skipped,
       sync.processed, sync.failed, sync.no_face, sync.originals_missing, sync.previews_made, sync.message,
       sync.requested_at, sync.indexing_since, sync.finished_at, sync.watchers
FROM face_syncs AS sync JOIN photo_events AS event ON event.id = sync.event_id
WHERE sync.id = $1;

-- name: newest_of_event
SELECT id FROM face_syncs WHERE event_id = $1 ORDER BY requested_at DESC LIMIT 1;

-- Only a newer fact overwrites: facts may come late, twice or in another order. One that was given up stays finished,
-- for another one may run meanwhile.
-- name: record
UPDATE face_syncs
SET version = $2, status = $3, total_found = $4, new_photos = $5, skipped = $6, processed = $7, failed = $8, no_face = $9,
    originals_missing = $10, previews_made = $11, message = $12, heard_at = clock_timestamp(),
    indexing_since = coalesce(indexing_since, CASE WHEN $3 = 'indexing' THEN $13::timestamptz END),
    finished_at = coalesce(finished_at, CASE WHEN $14 THEN clock_timestamp() END)
WHERE id = $1 AND version < $2
RETURNING true;

-- A change of status is always told; mere progress at most every so often.
-- name: claim_telling
UPDATE face_syncs SET told_status = status, told_at = clock_timestamp()
WHERE id = $1
  AND (told_status IS DISTINCT FROM status OR told_at < clock_timestamp() - make_interval(secs => $2))
RETURNING true;

-- name: give_up_silent
UPDATE face_syncs
SET status = 'failed', told_status = 'failed', message = $3, finished_at = clock_timestamp()
WHERE finished_at IS NULL AND heard_at < statement_timestamp() - make_interval(secs => $2)
  AND ($1::uuid IS NULL OR event_id = $1)
RETURNING id;

-- name: remove_finished
DELETE FROM face_syncs WHERE id IN (
    SELECT id FROM face_syncs WHERE finished_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY finished_at
    LIMIT $2
)
RETURNING id;
