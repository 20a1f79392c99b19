-- What people did to accounts and API keys. Stays when those are gone, so nothing is referenced; never a secret.
CREATE TABLE account_changes (
    -- UUIDv7: ordered by time, so the list pages by id
    id         uuid        PRIMARY KEY,
    area       text        NOT NULL CHECK (area IN ('accounts', 'api_keys')),
    action     text        NOT NULL,
    -- the account or the key
    subject_id uuid        NOT NULL,
    detail     jsonb       NOT NULL,
    done_by    uuid        NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX account_changes_of_area ON account_changes (area, id);
