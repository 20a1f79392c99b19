-- name: look
SELECT (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - changed_at)), 0)::float8 FROM runs
        WHERE stage IN ('queued', 'comparing', 'approved', 'executing', 'undo_wanted', 'undoing')) AS run_oldest_seconds,
       waiting.plans AS plans_waiting, waiting.oldest_seconds AS plan_waiting_oldest_seconds,
       kept.files AS quarantine_files, kept.bytes AS quarantine_bytes,
       greatest(kept.oldest_seconds - $1::float8, 0) AS quarantine_overdue_seconds,
       (SELECT count(*) FROM alerts
        WHERE ended_at > statement_timestamp() - interval '1 day' AND error IS NOT NULL) AS alerts_given_up
FROM (SELECT count(*) AS plans,
             coalesce(max(extract(epoch FROM clock_timestamp() - changed_at)), 0)::float8 AS oldest_seconds
      FROM runs WHERE stage = 'awaiting_approval') AS waiting,
     (SELECT count(*) AS files, coalesce(sum(size_bytes), 0)::float8 AS bytes,
             coalesce(extract(epoch FROM clock_timestamp() - min(ended_at)), 0)::float8 AS oldest_seconds
      FROM plan_items
      WHERE status IN ('done', 'undo_failed') AND NOT is_expired AND (action = 'remove' OR replaces)) AS kept;
