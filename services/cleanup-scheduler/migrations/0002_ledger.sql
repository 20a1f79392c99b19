-- Every medium as its owner told of it last, so that what is due for good is known before it goes.
CREATE TABLE media (
    media_id   uuid        PRIMARY KEY,
    -- of the newest deletion or restoration; 0 before the first
    version    integer     NOT NULL,
    state      text        NOT NULL CHECK (state IN ('live', 'deleted', 'going')),
    deleted_at timestamptz,
    files      integer     NOT NULL DEFAULT 0,
    size_bytes bigint      NOT NULL DEFAULT 0,
    -- the purge that it is commanded by
    purge_id   uuid,
    CHECK ((state = 'deleted') <= (deleted_at IS NOT NULL))
);

CREATE INDEX media_deleted ON media (deleted_at, media_id) WHERE state = 'deleted';

-- What the purge of one run takes: all that was deleted softly up to a moment.
CREATE TABLE purge_plans (
    run_id         uuid        PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    stage          text        NOT NULL CHECK (stage IN ('waiting', 'sending', 'sent', 'dropped')),
    deleted_until  timestamptz NOT NULL,
    planned_at     timestamptz NOT NULL
);

CREATE INDEX purge_plans_open ON purge_plans (stage) WHERE stage IN ('waiting', 'sending');

-- One command each.
CREATE TABLE purges (
    purge_id      uuid        PRIMARY KEY,
    run_id        uuid        NOT NULL REFERENCES purge_plans (run_id) ON DELETE CASCADE,
    media         integer     NOT NULL,
    sent_at       timestamptz NOT NULL,
    taken_at      timestamptz,
    begun         integer     NOT NULL DEFAULT 0,
    passed_over   integer     NOT NULL DEFAULT 0,
    completed     integer     NOT NULL DEFAULT 0,
    removed_bytes bigint      NOT NULL DEFAULT 0
);

CREATE INDEX purges_of_run ON purges (run_id);
