-- What notifications told of the bucket, so that the sweep knows what none told of. Removed objects stay a while: a
-- notification that comes late must not bring them back.
CREATE TABLE known_objects (
    bucket      text        NOT NULL,
    object_key  text        COLLATE "C" NOT NULL,
    is_removed  boolean     NOT NULL,
    -- null where a notification did not say
    size_bytes  bigint,
    etag        text,
    -- orders what is told of one key, where the store gives it
    sequencer   text,
    happened_at timestamptz NOT NULL,
    known_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bucket, object_key)
);

CREATE INDEX known_objects_removed ON known_objects (known_at) WHERE is_removed;

-- How far the sweep of a bucket is; '' at the beginning of a round.
CREATE TABLE sweeps (
    bucket     text        PRIMARY KEY,
    cursor     text        COLLATE "C" NOT NULL DEFAULT '',
    due_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    rounds     bigint      NOT NULL DEFAULT 0
);

-- The clock: what was due last.
CREATE TABLE schedule (
    name        text        PRIMARY KEY,
    last_due_at timestamptz NOT NULL
);

-- Alerts on their way, one row per channel.
CREATE TABLE alerts (
    alert_id uuid        NOT NULL,
    channel  text        NOT NULL,
    subject  text        NOT NULL,
    body     jsonb       NOT NULL,
    attempts integer     NOT NULL DEFAULT 0,
    due_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    error    text,
    PRIMARY KEY (alert_id, channel)
);

CREATE INDEX alerts_due ON alerts (due_at) WHERE ended_at IS NULL;
