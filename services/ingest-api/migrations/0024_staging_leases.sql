-- Staged files of uploads that go on for long: no job knows them yet, and the staging sweep leaves them alone.
CREATE TABLE staging_leases (
    upload_id    uuid        PRIMARY KEY,
    staging_keys text[]      NOT NULL,
    held_until   timestamptz NOT NULL
);
