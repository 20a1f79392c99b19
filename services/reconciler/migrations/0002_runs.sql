-- A run compares a scope and has at most one plan, which goes by the run's id.
CREATE TABLE runs (
    run_id                 uuid        PRIMARY KEY,
    scope_kind             text        NOT NULL CHECK (scope_kind IN ('product', 'products', 'media')),
    product_id             uuid,
    stage                  text        NOT NULL,
    -- grows with every change that is told
    version                integer     NOT NULL DEFAULT 1,
    remove_orphaned        boolean     NOT NULL,
    recreate_missing       boolean     NOT NULL,
    approves               boolean     NOT NULL,
    counts                 jsonb       NOT NULL DEFAULT '{}',
    result                 jsonb,
    needs_approval_because text,
    error                  text,
    requested_by           uuid,
    decided_by             uuid,
    requested_at           timestamptz NOT NULL,
    changed_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the step of the plan that is carried out
    step                   integer     NOT NULL DEFAULT 1,
    -- something happened that somebody has to act on
    wants_work             boolean     NOT NULL DEFAULT true,
    -- until then one process works on it; nobody else does
    held_until             timestamptz
);

CREATE INDEX runs_in_hand ON runs (requested_at) WHERE wants_work OR held_until IS NOT NULL;
CREATE INDEX runs_active ON runs (scope_kind, product_id) WHERE stage IN ('comparing', 'executing', 'undoing');

-- What a plan wants done, one row per file or record.
CREATE TABLE plan_items (
    item_id     uuid    PRIMARY KEY,
    plan_id     uuid    NOT NULL REFERENCES runs ON DELETE CASCADE,
    position    integer NOT NULL,
    step        integer NOT NULL,
    action      text    NOT NULL,
    why         text    NOT NULL,
    object_key  text    COLLATE "C" NOT NULL,
    owner_id    uuid,
    place       text    NOT NULL,
    source      text,
    replaces    boolean NOT NULL,
    size_bytes  bigint  NOT NULL,
    etag        text,
    sha256      text,
    image_id    uuid,
    weight      text,
    image_type  text,
    mime_type   text,
    -- what the record said before
    former      jsonb,
    status      text    NOT NULL DEFAULT 'planned',
    -- by which its outcome is told
    task_id     uuid,
    code        text,
    detail      text,
    ended_at    timestamptz,
    -- what it put into quarantine is gone for good
    is_expired  boolean NOT NULL DEFAULT false,
    UNIQUE (plan_id, position)
);

CREATE UNIQUE INDEX plan_items_task ON plan_items (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX plan_items_open ON plan_items (plan_id, step, position) WHERE status IN ('planned', 'sent', 'returning', 'undoing');
CREATE INDEX plan_items_quarantined ON plan_items (ended_at) WHERE status = 'done' AND NOT is_expired;
