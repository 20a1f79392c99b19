-- Accounts, and the ways in which a request shows whose it is.

CREATE TABLE users (
    id            uuid        PRIMARY KEY,
    -- compared as stored: lower case, NFC
    email         text        NOT NULL UNIQUE CHECK (email = lower(email)),
    role          text        NOT NULL CHECK (role IN ('superadmin', 'admin', 'photographer')),
    -- argon2id, in the PHC string format
    password_hash text        NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX users_superadmins ON users (id) WHERE role = 'superadmin';

-- Tokens and keys are stored as SHA-256 of 256 random bits: reading these tables lets nobody in.
CREATE TABLE sessions (
    token_hash   bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the end at the latest, however busy the session is
    expires_at   timestamptz NOT NULL
);

CREATE INDEX sessions_of_user ON sessions (user_id, created_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE api_keys (
    id           uuid        PRIMARY KEY,
    secret_hash  bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    name         text        NOT NULL,
    role         text        NOT NULL CHECK (role IN ('superadmin', 'admin', 'photographer')),
    created_by   uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,
    last_used_at timestamptz
);

CREATE INDEX api_keys_of_user ON api_keys (created_by);

-- One-use tickets with which a WebSocket is opened where neither cookie nor header can be sent.
CREATE TABLE tickets (
    token_hash bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       text        NOT NULL CHECK (role IN ('superadmin', 'admin', 'photographer')),
    expires_at timestamptz NOT NULL
);

CREATE INDEX tickets_of_user ON tickets (user_id);
CREATE INDEX tickets_expiry ON tickets (expires_at);

-- Attempts to sign in that failed or are being checked; here rather than in memory so that replicas count together.
CREATE TABLE login_attempts (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email        text        NOT NULL,
    address      inet        NOT NULL,
    attempted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX login_attempts_by_email ON login_attempts (email, attempted_at);
CREATE INDEX login_attempts_by_address ON login_attempts (address, attempted_at);
CREATE INDEX login_attempts_by_time ON login_attempts (attempted_at);
