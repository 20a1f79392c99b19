-- name: forget
DELETE FROM report_parts WHERE report_id = $1;

-- name: keep
INSERT INTO report_parts (report_id, part, run_id, entries) VALUES ($1, $2, $3, $4);

-- The part, and whether there is one behind it.
-- name: part
SELECT entries, EXISTS (SELECT 1 FROM report_parts WHERE report_id = $1 AND part > $2) AS goes_on
FROM report_parts WHERE report_id = $1 AND part = $2;

-- name: prune
DELETE FROM report_parts WHERE run_id IS NULL AND made_at < statement_timestamp() - make_interval(secs => $1);
