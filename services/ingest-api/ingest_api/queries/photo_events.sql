-- name: add
INSERT INTO photo_events (id, name, owner, auto_index, face_search_enabled, consent_text, consent_version, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING *;

-- name: get
SELECT * FROM photo_events WHERE id = $1;

-- Whoever changes an event, or begins a sync of its photos, holds this row until the commit.
-- name: lock
SELECT * FROM photo_events WHERE id = $1 FOR UPDATE;

-- Whoever adds photos to an event holds this row until the commit: it is not deleted meanwhile.
-- name: hold
SELECT * FROM photo_events WHERE id = $1 FOR SHARE;

-- name: newest
SELECT * FROM photo_events
WHERE NOT is_deleted AND ($1::uuid IS NULL OR owner = $1) AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3;

-- name: with_faces
SELECT * FROM photo_events
WHERE NOT is_deleted AND ($1::uuid IS NULL OR owner = $1) AND (expires_at IS NULL OR expires_at > $2)
ORDER BY id DESC
LIMIT $3;

-- name: save
UPDATE photo_events
SET name = $2, auto_index = $3, face_search_enabled = $4, consent_text = $5, consent_version = $6, expires_at = $7,
    is_deleted = $8, version = version + 1, updated_at = clock_timestamp()
WHERE id = $1
RETURNING *;

-- name: note_decision
INSERT INTO photo_event_consents (event_id, event_version, face_search_enabled, consent_text, consent_version, expires_at,
                                  decided_by, decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: decisions
SELECT event_version, face_search_enabled, consent_text, consent_version, expires_at, decided_by, decided_at
FROM photo_event_consents
WHERE event_id = $1 AND ($2::integer IS NULL OR event_version < $2)
ORDER BY event_version DESC
LIMIT $3;
