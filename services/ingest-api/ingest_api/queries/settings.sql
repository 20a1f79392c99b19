-- name: lock_settings
-- One writer per document at a time, also before its first row: without it two first changes would both be version 1.
SELECT pg_advisory_xact_lock(hashtextextended('settings ' || $1, 0));

-- name: settings
SELECT version, document, updated_by, updated_at FROM settings WHERE name = $1;

-- name: all_settings
SELECT name, version, document, updated_by, updated_at FROM settings ORDER BY name;

-- name: write_settings
INSERT INTO settings (name, version, document, updated_by, updated_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE
SET version = excluded.version, document = excluded.document, updated_by = excluded.updated_by,
    updated_at = excluded.updated_at;

-- name: note_change
INSERT INTO settings_audit (id, name, version, before, after, changed_by, changed_by_email, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: list_changes
SELECT id, name, version, before, after, changed_by, changed_by_email, changed_at FROM settings_audit
WHERE ($1::uuid IS NULL OR id < $1)
ORDER BY id DESC
LIMIT $2;
