-- What services gave up, as their dead-letter topics tell, and what people decided about it.

CREATE TABLE dead_letters (
    -- the key in the service's dead-letter topic
    id               uuid        PRIMARY KEY,
    service          text        NOT NULL,
    state            text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'dropped')),
    -- where the message came from
    topic            text        NOT NULL,
    partition        integer     NOT NULL,
    "offset"         bigint      NOT NULL,
    key              text        NOT NULL,
    type             text,
    event_id         text,
    code             text        NOT NULL,
    detail           text        NOT NULL,
    attempts         integer     NOT NULL,
    trace_id         text,
    -- the letter whose replay this message was
    replay_of        uuid,
    dead_lettered_at timestamptz NOT NULL,
    settled_at       timestamptz,
    -- null: not through the API
    settled_by       uuid,
    headers          jsonb       NOT NULL,
    payload          bytea       NOT NULL
);

CREATE INDEX dead_letters_newest ON dead_letters (dead_lettered_at, id);
CREATE INDEX dead_letters_of_service ON dead_letters (service, dead_lettered_at, id);
CREATE INDEX dead_letters_open ON dead_letters (service) WHERE state = 'open';
CREATE INDEX dead_letters_replayed ON dead_letters (replay_of) WHERE replay_of IS NOT NULL;

-- Stays when the letter is forgotten.
CREATE TABLE dead_letter_decisions (
    -- UUIDv7: ordered by time
    id         uuid        PRIMARY KEY,
    letter_id  uuid        NOT NULL,
    service    text        NOT NULL,
    type       text,
    code       text        NOT NULL,
    decision   text        NOT NULL CHECK (decision IN ('replayed', 'dropped')),
    decided_by uuid        NOT NULL,
    decided_at timestamptz NOT NULL
);
