-- What is due when. One row per schedule that this version knows; `is_customised` ones keep what people set.
CREATE TABLE schedules (
    name          text        PRIMARY KEY,
    cron          text        NOT NULL,
    time_zone     text        NOT NULL,
    missed        text        NOT NULL CHECK (missed IN ('run_once', 'skip')),
    is_customised boolean     NOT NULL DEFAULT false,
    is_paused     boolean     NOT NULL DEFAULT false,
    next_due_at   timestamptz NOT NULL,
    -- the latest due time that was fired or skipped: none before it ever is
    last_due_at   timestamptz,
    version       integer     NOT NULL DEFAULT 1,
    changed_at    timestamptz NOT NULL
);

-- What came of due times, and of what people asked for beside them.
CREATE TABLE runs (
    -- UUIDv7: ordered by time, so lists page by id
    run_id                 uuid        PRIMARY KEY,
    name                   text        NOT NULL,
    trigger                text        NOT NULL CHECK (trigger IN ('clock', 'person')),
    status                 text        NOT NULL,
    version                integer     NOT NULL DEFAULT 1,
    due_at                 timestamptz NOT NULL,
    -- due times before it that were not fired by themselves
    missed                 integer     NOT NULL DEFAULT 0,
    started_at             timestamptz,
    ended_at               timestamptz,
    answer_by              timestamptz,
    -- services that have not answered
    owing                  text[]      NOT NULL DEFAULT '{}',
    needs_approval_because text,
    detail                 text,
    -- null: the clock
    requested_by           uuid,
    decided_by             uuid,
    changed_at             timestamptz NOT NULL
);

-- A due time fires once: whoever comes second, be it a replica or a clock that was set back, finds the row.
CREATE UNIQUE INDEX runs_fired_once ON runs (name, due_at) WHERE trigger = 'clock';

CREATE INDEX runs_late ON runs (answer_by) WHERE status = 'running';

-- What each service told of its part.
CREATE TABLE answers (
    run_id   uuid        NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    service  text        NOT NULL,
    counts   jsonb       NOT NULL,
    error    text,
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, service)
);
