-- name: add_alert
INSERT INTO alerts (alert_id, channel, subject, body)
SELECT $1, channel, $3, $4 FROM unnest($2::text[]) AS channel
ON CONFLICT DO NOTHING;

-- name: due_alerts
SELECT alert_id, channel, subject, body, attempts FROM alerts
WHERE ended_at IS NULL AND due_at <= statement_timestamp()
ORDER BY due_at LIMIT 10 FOR UPDATE SKIP LOCKED;

-- name: alert_sent
UPDATE alerts SET ended_at = clock_timestamp(), attempts = attempts + 1, error = NULL
WHERE alert_id = $1 AND channel = $2;

-- name: alert_failed
UPDATE alerts
SET attempts = attempts + 1, error = $3, due_at = clock_timestamp() + make_interval(secs => $4),
    ended_at = CASE WHEN $5 THEN clock_timestamp() END
WHERE alert_id = $1 AND channel = $2;

-- name: prune_alerts
DELETE FROM alerts WHERE ended_at < statement_timestamp() - make_interval(secs => $1);

-- A plan is undone or its files expire, never both: whoever decides holds the run's row, and passes over nothing here
-- that is still going on.
-- name: expired_items
SELECT item.* FROM plan_items AS item JOIN runs AS run ON run.run_id = item.plan_id
WHERE item.status IN ('done', 'undo_failed') AND NOT item.is_expired AND (item.action = 'remove' OR item.replaces)
  AND item.ended_at < statement_timestamp() - make_interval(secs => $1)
  AND (item.expiry_failed_at IS NULL OR item.expiry_failed_at < clock_timestamp() - interval '1 hour')
  AND run.stage NOT IN ('undo_wanted', 'undoing')
ORDER BY item.ended_at LIMIT $2
FOR UPDATE OF item SKIP LOCKED FOR SHARE OF run SKIP LOCKED;

-- name: expire
UPDATE plan_items SET is_expired = true, expiry_task_id = $1, expiry_step = expiring.number - 1
FROM unnest($2::uuid[]) WITH ORDINALITY AS expiring (item_id, number)
WHERE plan_items.item_id = expiring.item_id;

-- name: expiry_failed
UPDATE plan_items SET is_expired = false, expiry_failed_at = clock_timestamp()
WHERE expiry_task_id = $1 AND expiry_step = ANY($2::integer[]);
