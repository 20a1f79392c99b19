-- name: add
INSERT INTO runs (run_id, scope_kind, product_id, stage, remove_orphaned, recreate_missing, approves, requested_by,
                  requested_at)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $8)
ON CONFLICT (run_id) DO NOTHING
RETURNING *;

-- name: get
SELECT * FROM runs WHERE run_id = $1;

-- name: lock
SELECT * FROM runs WHERE run_id = $1 FOR UPDATE;

-- Who claims holds this lock, so that no two decide at once that nothing is in their way.
-- name: lock_claims
SELECT pg_advisory_xact_lock(hashtextextended('reconcile.claims', 0));

-- The oldest run that wants work, whose files no other run is at. Runs of products and of one product meet; so do two
-- of the same scope.
-- name: claim
UPDATE runs
SET stage = CASE stage WHEN 'queued' THEN 'comparing' WHEN 'approved' THEN 'executing' WHEN 'undo_wanted' THEN 'undoing'
                       ELSE stage END,
    wants_work = false, held_until = clock_timestamp() + make_interval(secs => $1)
WHERE run_id = (
    SELECT run_id FROM runs AS candidate
    WHERE (wants_work OR held_until IS NOT NULL) AND (held_until IS NULL OR held_until < clock_timestamp())
      AND stage IN ('queued', 'comparing', 'approved', 'executing', 'undo_wanted', 'undoing')
      AND NOT EXISTS (
          SELECT 1 FROM runs AS other
          WHERE other.run_id <> candidate.run_id AND other.stage IN ('comparing', 'executing', 'undoing')
            AND candidate.stage IN ('queued', 'approved', 'undo_wanted')
            AND (other.scope_kind = 'media') = (candidate.scope_kind = 'media')
            AND (other.scope_kind <> 'product' OR candidate.scope_kind <> 'product'
                 OR other.product_id = candidate.product_id))
    ORDER BY requested_at, run_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- name: hold
UPDATE runs SET held_until = clock_timestamp() + make_interval(secs => $2) WHERE run_id = $1;

-- name: release
UPDATE runs SET held_until = NULL, attempts = 0 WHERE run_id = $1;

-- name: try_again
UPDATE runs SET held_until = clock_timestamp() + make_interval(secs => $2), wants_work = true WHERE run_id = $1;

-- name: count_attempt
UPDATE runs SET attempts = attempts + 1 WHERE run_id = $1 RETURNING attempts;

-- name: move
UPDATE runs
SET stage = $2, version = version + 1, changed_at = clock_timestamp(), counts = coalesce($3, counts),
    result = coalesce($4, result), needs_approval_because = coalesce($5, needs_approval_because),
    error = $6, decided_by = coalesce($7, decided_by), wants_work = $8, step = coalesce($9, step)
WHERE run_id = $1
RETURNING *;

-- name: touch
UPDATE runs SET version = version + 1, changed_at = clock_timestamp(), error = coalesce($2, error)
WHERE run_id = $1
RETURNING *;

-- Ended so long ago that nothing of them is in quarantine any more.
-- name: prune
DELETE FROM runs WHERE run_id IN (
    SELECT run_id FROM runs
    WHERE stage IN ('completed', 'failed', 'discarded', 'partly_undone', 'undone')
      AND changed_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2);

-- name: set_step
UPDATE runs SET step = $2 WHERE run_id = $1;

-- name: want_work
UPDATE runs SET wants_work = true WHERE run_id = $1;

-- name: wake
SELECT pg_notify('runs_' || current_schema(), '');

-- name: forget_items
DELETE FROM plan_items WHERE plan_id = $1;

-- name: add_items
INSERT INTO plan_items (item_id, plan_id, position, step, action, why, object_key, owner_id, place, source, replaces,
                        size_bytes, etag, sha256, image_id, weight, image_type, mime_type, former)
SELECT item.item_id, $1, $2 + item.number, item.step, item.action, item.why, item.object_key, item.owner_id, item.place,
       item.source, item.replaces, item.size_bytes, item.etag, item.sha256, item.image_id, item.weight, item.image_type,
       item.mime_type, item.former
FROM jsonb_to_recordset($3) AS item (
    number integer, item_id uuid, step integer, action text, why text, object_key text, owner_id uuid, place text,
    source text, replaces boolean, size_bytes bigint, etag text, sha256 text, image_id uuid, weight text,
    image_type text, mime_type text, former jsonb);

-- name: next_planned
SELECT * FROM plan_items WHERE plan_id = $1 AND step = $2 AND status = 'planned' ORDER BY position LIMIT $3;

-- Unfinished files that were discarded were nobody's; there is nothing of them to bring back.
-- name: next_to_undo
SELECT * FROM plan_items
WHERE plan_id = $1 AND status = 'done' AND action <> 'discard'
ORDER BY position DESC LIMIT $2;

-- name: try_undo_again
UPDATE plan_items SET status = 'done' WHERE plan_id = $1 AND status = 'undo_failed';

-- name: is_in_work
SELECT EXISTS (SELECT 1 FROM plan_items JOIN runs ON run_id = plan_id
               WHERE object_key = $1
                 AND (status IN ('sent', 'returning', 'undoing')
                      -- What was discarded or given up is never carried out.
                      OR (status = 'planned' AND stage IN ('awaiting_approval', 'approved', 'executing'))));

-- name: count_open
SELECT count(*) FROM plan_items WHERE plan_id = $1 AND status IN ('sent', 'returning', 'undoing');

-- name: send
UPDATE plan_items AS item SET status = $3, task_id = sent.task_id, code = NULL, detail = NULL
FROM unnest($1::uuid[], $2::uuid[]) AS sent (item_id, task_id)
WHERE item.item_id = sent.item_id;

-- name: end_item
UPDATE plan_items
SET status = $2, code = $3, detail = $4, ended_at = clock_timestamp(), image_id = coalesce($5, image_id),
    sha256 = coalesce(sha256, $6), task_id = NULL
WHERE item_id = $1;

-- name: item_of_task
SELECT * FROM plan_items WHERE task_id = $1 FOR UPDATE;

-- name: outcome_counts
SELECT count(*) FILTER (WHERE status IN ('done', 'undoing', 'undone', 'undo_failed')) AS done,
       count(*) FILTER (WHERE status IN ('failed', 'skipped')) AS failed,
       count(*) FILTER (WHERE status = 'undone') AS undone,
       count(*) FILTER (WHERE status = 'undo_failed') AS undo_failed
FROM plan_items WHERE plan_id = $1;

-- name: failures_by_code
SELECT coalesce(code, 'unknown') AS code, count(*) AS items FROM plan_items
WHERE plan_id = $1 AND status = ANY($2)
GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: problems
SELECT object_key, owner_id, code, detail FROM plan_items
WHERE plan_id = $1 AND status = ANY($2)
ORDER BY position;

-- name: items_page
SELECT * FROM plan_items WHERE plan_id = $1 AND position > $2 ORDER BY position LIMIT $3;

-- name: plan_groups
SELECT action, why, place, status, count(*) AS items, sum(size_bytes)::bigint AS size_bytes FROM plan_items
WHERE plan_id = $1
GROUP BY action, why, place, status
ORDER BY action, why, place, status;

-- A file may have several items, of which all have to be done.
-- name: plan_files
SELECT why, becomes_synced, count(*) AS files, count(*) FILTER (WHERE is_done) AS done
FROM (SELECT why, bool_or(action IN ('copy', 'make_record', 'refresh_record')) AS becomes_synced,
             bool_and(status IN ('done', 'undoing', 'undo_failed')) AS is_done
      FROM plan_items WHERE plan_id = $1
      GROUP BY why, object_key) AS files
GROUP BY why, becomes_synced
ORDER BY why, becomes_synced;

-- name: has_items
SELECT EXISTS (SELECT 1 FROM plan_items WHERE plan_id = $1);

-- name: has_expired_items
SELECT EXISTS (SELECT 1 FROM plan_items WHERE plan_id = $1 AND is_expired);
