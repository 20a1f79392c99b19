-- Tasks of single files, in the order in which they came; those of one scope are carried out one after the other.
CREATE TABLE file_tasks (
    task_id    uuid        PRIMARY KEY,
    position   bigint      GENERATED ALWAYS AS IDENTITY,
    scope      text        NOT NULL,
    steps      jsonb       NOT NULL,
    is_atomic  boolean     NOT NULL,
    -- one per step that was looked at: what was found before anything was changed, and what became of it. Written before
    -- the change it tells of, so that whoever goes on after a crash knows which files this task made
    records    jsonb       NOT NULL DEFAULT '[]',
    -- set once: from then on the task is taken back (failed) or only tidied up after (succeeded)
    verdict    text        CHECK (verdict IN ('succeeded', 'failed')),
    results    jsonb,
    -- who works on it now; only the first unended task of a scope is ever held
    held_by    uuid,
    held_until timestamptz,
    arrived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    CHECK ((ended_at IS NULL) = (results IS NULL))
);

CREATE INDEX file_tasks_queue ON file_tasks (scope, position) WHERE ended_at IS NULL;
CREATE INDEX file_tasks_ended ON file_tasks (ended_at) WHERE ended_at IS NOT NULL;
