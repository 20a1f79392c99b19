-- Settings that people change while the system runs, and who changed what.

CREATE TABLE settings (
    -- the key of the document on settings.events: `media`, or `entity-type:<name>`
    name       text        PRIMARY KEY,
    -- counts the changes; the environment's defaults, which no row holds, are version 0
    version    integer     NOT NULL CHECK (version >= 1),
    document   jsonb       NOT NULL,
    updated_by uuid        NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE settings_audit (
    -- UUIDv7: ordered by time, so the list pages by id
    id               uuid        PRIMARY KEY,
    name             text        NOT NULL,
    version          integer     NOT NULL,
    -- the fields that changed, as callers name them
    before           jsonb       NOT NULL,
    after            jsonb       NOT NULL,
    -- accounts may go, what they did stays: nothing is referenced
    changed_by       uuid        NOT NULL,
    changed_by_email text        NOT NULL,
    changed_at       timestamptz NOT NULL,
    UNIQUE (name, version)
);
