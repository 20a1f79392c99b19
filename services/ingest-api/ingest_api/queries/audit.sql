-- Every part is ordered by an id that grows with time, and is read no further than the page reaches.
-- name: newest
SELECT entry.*, (SELECT email FROM users WHERE users.id = entry.done_by) AS email
FROM (
    (SELECT id, 'settings' AS area, 'changed' AS action, name AS subject, changed_by AS done_by, changed_at AS done_at,
            jsonb_build_object('before', before, 'after', after) AS detail
     FROM settings_audit
     WHERE ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'settings') = 'settings'
     ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT decision.id, 'reconcile', decision.decision, decision.run_id::text, decision.decided_by,
            decision.decided_at, coalesce((SELECT jsonb_build_object('scope', scope_kind, 'productId', product_id)
                      FROM reconcile_runs WHERE reconcile_runs.id = decision.run_id), '{}')
     FROM reconcile_decisions AS decision
     WHERE decision.decided_by IS NOT NULL
       AND ($1::uuid IS NULL OR decision.id < $1) AND coalesce($2, 'reconcile') = 'reconcile'
     ORDER BY decision.id DESC LIMIT $3)
    UNION ALL
    (SELECT id, 'schedules', request, name, requested_by, requested_at,
            jsonb_build_object('runId', run_id, 'changes', changes)
     FROM schedule_requests
     WHERE ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'schedules') = 'schedules'
     ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT id, 'dead_letters', decision, letter_id::text, decided_by, decided_at,
            jsonb_build_object('service', service, 'type', type, 'code', code)
     FROM dead_letter_decisions
     WHERE ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'dead_letters') = 'dead_letters'
     ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT id, 'deletions', 'delete_for_good', media_id::text, requested_by, begun_at,
            jsonb_build_object('entityType', entity_type, 'entityId', entity_id)
     FROM media_deletions
     WHERE is_told AND requested_by IS NOT NULL
       AND ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'deletions') = 'deletions'
     ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT id, 'selections', kind, id::text AS subject, uploader, created_at,
            jsonb_strip_nulls(jsonb_build_object('media', selected, 'filter', filter, 'matching', matching,
                                                 'cancelledAt', cancelled_at, 'cancelledBy', cancelled_by))
     FROM bulk_jobs
     WHERE kind IN ('rerender', 'delete', 'hard_delete', 'restore')
       AND ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'selections') = 'selections'
     ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT id, area, action, subject_id::text, done_by, done_at, detail
     FROM account_changes
     WHERE area = 'accounts' AND ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'accounts') = 'accounts'
     ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT id, area, action, subject_id::text, done_by, done_at, detail
     FROM account_changes
     WHERE area = 'api_keys' AND ($1::uuid IS NULL OR id < $1) AND coalesce($2, 'api_keys') = 'api_keys'
     ORDER BY id DESC LIMIT $3)
) AS entry
ORDER BY entry.id DESC
LIMIT $3;
