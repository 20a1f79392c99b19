-- The processes of the system, as each told of itself last.

CREATE TABLE replicas (
    service        text             NOT NULL,
    instance       text             NOT NULL,
    version        text             NOT NULL,
    started_at     timestamptz      NOT NULL,
    -- by the clock of the process; the newest is kept
    told_at        timestamptz      NOT NULL,
    every_seconds  double precision NOT NULL,
    is_ready       boolean          NOT NULL,
    problems       jsonb            NOT NULL,
    lag_messages   jsonb            NOT NULL,
    -- null: another process of the service knows
    outbox_waiting integer,
    PRIMARY KEY (service, instance)
);
