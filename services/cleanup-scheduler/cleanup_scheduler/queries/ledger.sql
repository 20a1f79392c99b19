-- Statements that lock several rows do so by their ids, and transactions in the order that purging.py names: without
-- that two of them would wait for each other.

-- name: know_uploaded
INSERT INTO media (media_id, version, state) VALUES ($1, 0, 'live') ON CONFLICT DO NOTHING;

-- An older fact that comes late changes nothing.
-- name: know_deleted
INSERT INTO media (media_id, version, state, deleted_at, files, size_bytes)
SELECT media_id, version, 'deleted', deleted_at, files, size_bytes
FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::integer[], $5::bigint[])
    AS told (media_id, version, deleted_at, files, size_bytes)
ORDER BY media_id
ON CONFLICT (media_id) DO UPDATE
SET version = excluded.version, state = excluded.state, deleted_at = excluded.deleted_at, files = excluded.files,
    size_bytes = excluded.size_bytes, purge_id = NULL
WHERE media.version < excluded.version;

-- name: know_restored
INSERT INTO media (media_id, version, state) VALUES ($1, $2, 'live')
ON CONFLICT (media_id) DO UPDATE
SET version = excluded.version, state = excluded.state, deleted_at = NULL, purge_id = NULL
WHERE media.version < excluded.version;

-- name: know_going
INSERT INTO media (media_id, version, state)
SELECT media_id, version, 'going' FROM unnest($1::uuid[], $2::integer[]) AS told (media_id, version)
ORDER BY media_id
ON CONFLICT (media_id) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE media.version <= excluded.version;

-- name: forget
WITH gone AS (SELECT media_id FROM media WHERE media_id = ANY($1::uuid[]) ORDER BY media_id FOR UPDATE)
DELETE FROM media USING gone WHERE media.media_id = gone.media_id;

-- name: due
SELECT count(*) AS media, coalesce(sum(files), 0)::bigint AS files, coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM media WHERE state = 'deleted' AND deleted_at <= $1;

-- name: due_media
SELECT media_id, deleted_at, files, size_bytes FROM media
WHERE state = 'deleted' AND deleted_at <= $1
ORDER BY deleted_at, media_id LIMIT $2;

-- name: live
SELECT count(*) FROM media WHERE state = 'live';

-- What a command was lost for, or was passed over with, is due again, also when its run is forgotten by now. Should its
-- deletion have begun without this service having heard of it, it is passed over once more.
-- name: free_left
WITH held AS (
    SELECT media_id FROM media
    WHERE state = 'deleted' AND purge_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM purges
                      WHERE purges.purge_id = media.purge_id AND taken_at IS NULL AND sent_at >= $1)
    ORDER BY media_id FOR UPDATE OF media
)
UPDATE media SET purge_id = NULL FROM held WHERE media.media_id = held.media_id;

-- name: add_plan
INSERT INTO purge_plans (run_id, stage, deleted_until, planned_at) VALUES ($1, $2, $3, $4);

-- name: waiting_runs
SELECT run_id FROM purge_plans WHERE stage = 'waiting' ORDER BY planned_at;

-- name: set_stage
UPDATE purge_plans SET stage = $3 WHERE run_id = $1 AND stage = $2 RETURNING true;

-- All of them, whichever is sent: two replicas that send at once would each count without what the other is sending.
-- name: lock_sending
SELECT run_id, deleted_until FROM purge_plans WHERE stage = 'sending' ORDER BY planned_at, run_id FOR UPDATE;

-- name: take
WITH taken AS (
    SELECT media_id FROM media
    WHERE state = 'deleted' AND deleted_at <= $1 AND purge_id IS NULL
    ORDER BY deleted_at, media_id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE media SET purge_id = $2 FROM taken WHERE media.media_id = taken.media_id
RETURNING media.media_id, media.deleted_at;

-- name: add_purge
INSERT INTO purges (purge_id, run_id, media, sent_at) VALUES ($1, $2, $3, $4);

-- What was given up as lost is not waited for.
-- name: outstanding
SELECT coalesce(sum(media - passed_over - completed), 0)::integer FROM purges
WHERE sent_at >= $1 AND (taken_at IS NULL OR completed < begun);

-- name: note_taken
UPDATE purges SET taken_at = $2, begun = $3, passed_over = $4 WHERE purge_id = $1 AND taken_at IS NULL
RETURNING CASE WHEN completed >= begun THEN run_id END;

-- Not before all of the run is commanded: the same would be commanded and passed over for ever.
-- name: pass_over
WITH passed_over AS (
    SELECT media_id FROM media
    WHERE purge_id = $1 AND media_id = ANY($2)
      AND NOT EXISTS (SELECT FROM purges JOIN purge_plans USING (run_id)
                      WHERE purges.purge_id = $1 AND purge_plans.stage = 'sending')
    ORDER BY media_id FOR UPDATE OF media
)
UPDATE media SET purge_id = NULL FROM passed_over WHERE media.media_id = passed_over.media_id;

-- The deletions of a purge may end before it is told that they have begun.
-- name: note_completed
WITH told AS (
    SELECT purge_id, media, removed_bytes
    FROM unnest($1::uuid[], $2::integer[], $3::bigint[]) AS told (purge_id, media, removed_bytes)
),
locked AS (SELECT purge_id FROM purges WHERE purge_id = ANY($1::uuid[]) ORDER BY purge_id FOR UPDATE)
UPDATE purges
SET completed = completed + told.media, removed_bytes = purges.removed_bytes + told.removed_bytes
FROM told JOIN locked USING (purge_id)
WHERE purges.purge_id = told.purge_id
RETURNING CASE WHEN taken_at IS NOT NULL AND completed >= begun THEN run_id END AS run_id;

-- Nothing while commands are unsent, unanswered, or what they began goes on.
-- name: outcome
SELECT coalesce(sum(begun), 0)::integer AS media, coalesce(sum(passed_over), 0)::integer AS passed_over,
       coalesce(sum(removed_bytes), 0)::bigint AS bytes
FROM purge_plans LEFT JOIN purges USING (run_id)
WHERE run_id = $1
HAVING bool_and(stage = 'sent' AND (purge_id IS NULL OR (taken_at IS NOT NULL AND completed >= begun)));
