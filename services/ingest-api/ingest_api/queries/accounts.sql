-- name: user_credentials
SELECT id, email, role, created_at, updated_at, password_hash FROM users WHERE email = $1;

-- name: user
SELECT id, email, role, created_at, updated_at FROM users WHERE id = $1;

-- name: emails
SELECT id, email FROM users WHERE id = ANY($1::uuid[]);

-- name: list_users
SELECT id, email, role, created_at, updated_at FROM users
WHERE $1::uuid IS NULL OR id < $1
ORDER BY id DESC
LIMIT $2;

-- name: lock_user
SELECT id, email, role, created_at, updated_at FROM users WHERE id = $1 FOR UPDATE;

-- name: add_user
INSERT INTO users (id, email, role, password_hash) VALUES ($1, $2, $3, $4)
ON CONFLICT (email) DO NOTHING
RETURNING id, email, role, created_at, updated_at;

-- name: change_user
UPDATE users SET email = coalesce($2, email), role = coalesce($3, role), password_hash = coalesce($4, password_hash),
                 updated_at = clock_timestamp()
WHERE id = $1
RETURNING id, email, role, created_at, updated_at;

-- name: replace_password_hash
UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2;

-- name: remove_user
DELETE FROM users WHERE id = $1
RETURNING email, role, (SELECT count(*) FROM api_keys WHERE created_by = $1) AS api_keys;

-- name: lock_superadmins
-- Locked in one order before any of them is demoted or removed: two at once would each see the other one stay.
SELECT id FROM users WHERE role = 'superadmin' ORDER BY id FOR UPDATE;

-- name: lock_first_superadmin
SELECT pg_advisory_xact_lock(hashtextextended('mediabus.first_superadmin.' || current_schema(), 0));

-- name: any_superadmin
SELECT email FROM users WHERE role = 'superadmin' ORDER BY id LIMIT 1;

-- name: add_session
-- FOR SHARE makes a change of password or role wait, and its removal of sessions then finds this one; the hash tells
-- whether such a change came first. Without either, a session of the old password would live on.
INSERT INTO sessions (token_hash, user_id, expires_at)
SELECT $1, id, clock_timestamp() + make_interval(secs => $4)
FROM (SELECT id FROM users WHERE id = $2 AND password_hash = $3 FOR SHARE) AS account
RETURNING true;

-- name: end_oldest_sessions
DELETE FROM sessions WHERE token_hash IN (
    SELECT token_hash FROM sessions WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2
);

-- name: session_principal
SELECT users.id AS user_id, users.email, users.role,
       sessions.last_seen_at < clock_timestamp() - make_interval(secs => $3) AS untouched,
       extract(epoch FROM least(sessions.expires_at, sessions.last_seen_at + make_interval(secs => $2))
                          - clock_timestamp())::float8 AS seconds_left
FROM sessions JOIN users ON users.id = sessions.user_id
WHERE sessions.token_hash = $1
  AND sessions.expires_at > clock_timestamp()
  AND sessions.last_seen_at > clock_timestamp() - make_interval(secs => $2);

-- name: touch_session
UPDATE sessions SET last_seen_at = clock_timestamp() WHERE token_hash = $1;

-- name: end_session
DELETE FROM sessions WHERE token_hash = $1;

-- name: end_sessions_of
DELETE FROM sessions WHERE user_id = $1 RETURNING user_id;

-- name: end_tickets_of
DELETE FROM tickets WHERE user_id = $1;

-- name: add_ticket
INSERT INTO tickets (token_hash, user_id, role, session_hash, api_key_id, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6));

-- name: use_ticket
-- Deleting is what makes it one-use: of two at once only one gets the row.
DELETE FROM tickets USING users
WHERE tickets.token_hash = $1 AND tickets.expires_at > clock_timestamp() AND users.id = tickets.user_id
RETURNING users.id AS user_id, users.email, users.role AS user_role, tickets.role, tickets.session_hash,
          tickets.api_key_id;

-- name: standing
-- No row once the account, the session ($2, idle for $4 seconds at most) or the API key ($3) is gone.
SELECT users.role AS user_role, coalesce(api_keys.role, users.role) AS role, api_keys.expires_at AS key_ends_at
FROM users
LEFT JOIN sessions ON sessions.token_hash = $2 AND sessions.user_id = users.id
     AND sessions.expires_at > clock_timestamp()
     AND sessions.last_seen_at > clock_timestamp() - make_interval(secs => $4)
LEFT JOIN api_keys ON api_keys.id = $3 AND api_keys.created_by = users.id
     AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp())
WHERE users.id = $1
  AND ($2::bytea IS NULL OR sessions.token_hash IS NOT NULL)
  AND ($3::uuid IS NULL OR api_keys.id IS NOT NULL);

-- name: add_api_key
INSERT INTO api_keys (id, secret_hash, name, role, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6);

-- name: list_api_keys
SELECT api_keys.id, api_keys.name, api_keys.role, api_keys.created_by, users.email AS created_by_email,
       api_keys.created_at, api_keys.expires_at, api_keys.last_used_at
FROM api_keys JOIN users ON users.id = api_keys.created_by
WHERE ($1::uuid IS NULL OR api_keys.id < $1) AND ($2::uuid IS NULL OR api_keys.created_by = $2)
ORDER BY api_keys.id DESC
LIMIT $3;

-- name: remove_api_key
DELETE FROM api_keys USING users
WHERE api_keys.id = $1 AND users.id = api_keys.created_by AND ($2::uuid IS NULL OR created_by = $2)
RETURNING api_keys.name, api_keys.role, users.email AS made_by;

-- name: note_change
INSERT INTO account_changes (id, area, action, subject_id, detail, done_by) VALUES ($1, $2, $3, $4, $5, $6);

-- name: api_key_principal
SELECT users.id AS user_id, users.email, users.role AS user_role, api_keys.role, api_keys.secret_hash,
       coalesce(api_keys.last_used_at < clock_timestamp() - interval '1 minute', true) AS untouched,
       extract(epoch FROM api_keys.expires_at - clock_timestamp())::float8 AS seconds_left
FROM api_keys JOIN users ON users.id = api_keys.created_by
WHERE api_keys.id = $1 AND (api_keys.expires_at IS NULL OR api_keys.expires_at > clock_timestamp());

-- name: touch_api_key
UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = $1;

-- name: record_attempt
INSERT INTO login_attempts (email, address) VALUES ($1, $2) RETURNING id;

-- name: recent_attempts
SELECT email = $1 AS same_account, address = $2 AS same_address,
       extract(epoch FROM clock_timestamp() - attempted_at)::float8 AS age_seconds
FROM login_attempts
WHERE (email = $1 OR address = $2) AND attempted_at > statement_timestamp() - make_interval(secs => $3)
ORDER BY attempted_at DESC
LIMIT $4;

-- name: remove_attempt
DELETE FROM login_attempts WHERE id = $1;

-- name: forgive_attempts
DELETE FROM login_attempts WHERE email = $1 AND address = $2;

-- name: remove_old_attempts
DELETE FROM login_attempts WHERE id IN (
    SELECT id FROM login_attempts
    WHERE attempted_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY attempted_at
    LIMIT $2
);

-- name: remove_ended_sessions
-- The conditions again in the outer statement: a session that is used in this moment goes on.
DELETE FROM sessions
WHERE (expires_at < statement_timestamp() OR last_seen_at < statement_timestamp() - make_interval(secs => $1))
  AND token_hash IN (
    SELECT token_hash FROM sessions
    WHERE expires_at < statement_timestamp() OR last_seen_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2
);

-- name: remove_ended_tickets
DELETE FROM tickets WHERE token_hash IN (
    SELECT token_hash FROM tickets WHERE expires_at < statement_timestamp() ORDER BY expires_at LIMIT $1
);

-- name: remove_old_changes
DELETE FROM account_changes WHERE id IN (
    SELECT id FROM account_changes
    WHERE done_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY done_at
    LIMIT $2
);
