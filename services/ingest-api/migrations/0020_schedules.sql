-- Schedules and their runs as cleanup-scheduler tells of them, and who asked what of them.

CREATE TABLE schedules (
    name        text        PRIMARY KEY,
    -- of the newest fact
    version     integer     NOT NULL,
    cron        text        NOT NULL,
    time_zone   text        NOT NULL,
    missed      text        NOT NULL,
    is_paused   boolean     NOT NULL,
    next_due_at timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL
);

CREATE TABLE schedule_runs (
    -- UUIDv7: ordered by time, so lists page by id
    id                     uuid        PRIMARY KEY,
    name                   text        NOT NULL,
    -- of the newest fact; 0 until cleanup-scheduler has told of the run
    version                integer     NOT NULL DEFAULT 0,
    trigger                text        NOT NULL,
    status                 text        NOT NULL,
    due_at                 timestamptz NOT NULL,
    missed                 integer     NOT NULL DEFAULT 0,
    started_at             timestamptz,
    ended_at               timestamptz,
    answer_by              timestamptz,
    counts                 jsonb       NOT NULL DEFAULT '{}',
    answers                jsonb       NOT NULL DEFAULT '[]',
    owing                  text[]      NOT NULL DEFAULT '{}',
    needs_approval_because text,
    detail                 text,
    -- null: the clock
    requested_by           uuid,
    decided_by             uuid,
    changed_at             timestamptz NOT NULL
);

CREATE INDEX schedule_runs_of_one ON schedule_runs (name, id);

CREATE INDEX schedule_runs_ended ON schedule_runs (ended_at);

-- Who asked what: a change of a schedule, a run beside its due times, a decision about a run.
CREATE TABLE schedule_requests (
    id           uuid        PRIMARY KEY,
    name         text        NOT NULL,
    request      text        NOT NULL CHECK (request IN ('change', 'run', 'approve', 'refuse')),
    run_id       uuid,
    changes      jsonb,
    requested_by uuid        NOT NULL,
    requested_at timestamptz NOT NULL
);

CREATE INDEX schedule_requests_of_one ON schedule_requests (name, id);
