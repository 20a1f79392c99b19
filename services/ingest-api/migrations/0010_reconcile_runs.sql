-- Runs of reconciler as it tells of them, and who decided what about their plans.

CREATE TABLE reconcile_runs (
    -- UUIDv7: ordered by time, so lists page by id
    id                     uuid        PRIMARY KEY,
    plan_id                uuid,
    -- of the newest fact; 0 until reconciler has told of the run
    version                integer     NOT NULL DEFAULT 0,
    scope_kind             text        NOT NULL,
    product_id             uuid,
    status                 text        NOT NULL DEFAULT 'comparing',
    remove_orphaned        boolean     NOT NULL,
    recreate_missing       boolean     NOT NULL,
    counts                 jsonb       NOT NULL DEFAULT '{}',
    result                 jsonb,
    needs_approval_because text,
    error                  text,
    -- null: the clock
    requested_by           uuid,
    decided_by             uuid,
    requested_at           timestamptz NOT NULL,
    changed_at             timestamptz NOT NULL
);

CREATE TABLE reconcile_decisions (
    id         uuid        PRIMARY KEY,
    run_id     uuid        NOT NULL,
    decision   text        NOT NULL CHECK (decision IN ('start', 'approve', 'discard', 'undo')),
    -- null: the clock
    decided_by uuid,
    decided_at timestamptz NOT NULL
);

CREATE INDEX reconcile_decisions_of_run ON reconcile_decisions (run_id, id);
