-- A run as it waits for reconciler to tell of it; one that has told already stays as it is.
-- name: add
INSERT INTO reconcile_runs (id, scope_kind, product_id, remove_orphaned, recreate_missing, requested_by, requested_at,
                            changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (id) DO NOTHING;

-- An older fact that comes late changes nothing.
-- name: record
WITH recorded AS (
    INSERT INTO reconcile_runs (id, plan_id, version, scope_kind, product_id, status, remove_orphaned, recreate_missing,
                                counts, result, needs_approval_because, error, requested_by, decided_by, requested_at,
                                changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
    ON CONFLICT (id) DO UPDATE
    SET plan_id = excluded.plan_id, version = excluded.version, status = excluded.status, counts = excluded.counts,
        result = excluded.result, needs_approval_because = excluded.needs_approval_because, error = excluded.error,
        decided_by = excluded.decided_by, changed_at = excluded.changed_at
    WHERE reconcile_runs.version < excluded.version
    RETURNING id
)
SELECT pg_notify('notices_' || current_schema(), id::text) FROM recorded;

-- name: get
SELECT * FROM reconcile_runs WHERE id = $1;

-- name: lock
SELECT * FROM reconcile_runs WHERE id = $1 FOR UPDATE;

-- What was decided holds until reconciler tells what came of it.
-- name: expect
UPDATE reconcile_runs SET status = $2, changed_at = $3 WHERE id = $1;

-- name: newest
SELECT * FROM reconcile_runs WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2;

-- name: waiting
SELECT * FROM reconcile_runs WHERE status = 'awaiting_approval' ORDER BY id DESC LIMIT $1;

-- name: note_decision
INSERT INTO reconcile_decisions (id, run_id, decision, decided_by, decided_at) VALUES ($1, $2, $3, $4, $5);

-- name: decisions
SELECT run_id, decision, decided_by, decided_at FROM reconcile_decisions WHERE run_id = ANY($1) ORDER BY id;
