-- What every service's schema holds: events that wait to be published, and deliveries that took effect.

CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text        NOT NULL,
    key         text        NOT NULL,
    headers     jsonb       NOT NULL,
    payload     bytea       NOT NULL,
    -- W3C trace context of the unit of work that wrote the row
    traceparent text,
    tracestate  text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- null: as soon as possible; else: not before
    due_at      timestamptz,
    sent_at     timestamptz
);

-- The relay's only question is "what is unsent, oldest first"; sent rows cost it nothing.
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL AND due_at IS NULL;
CREATE INDEX outbox_due ON outbox (due_at, id) WHERE sent_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE TABLE inbox (
    consumer   text        NOT NULL,
    source     text        NOT NULL,
    claim      text        NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, source, claim)
);

CREATE INDEX inbox_claimed ON inbox (claimed_at);
