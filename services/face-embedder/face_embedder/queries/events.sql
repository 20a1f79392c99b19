-- A version that is not newer changes nothing.
-- name: know
INSERT INTO events (event_id, number, version, auto_index, is_searchable, faces_expire_at, is_deleted, pack, pack_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT pack FROM wanted_pack), (SELECT pack_version FROM wanted_pack))
ON CONFLICT (event_id) DO UPDATE
SET version = excluded.version, auto_index = excluded.auto_index, is_searchable = excluded.is_searchable,
    faces_expire_at = excluded.faces_expire_at, is_deleted = excluded.is_deleted
WHERE events.version < excluded.version;

-- name: ensure
INSERT INTO events (event_id, number, pack, pack_version)
VALUES ($1, $2, (SELECT pack FROM wanted_pack), (SELECT pack_version FROM wanted_pack))
ON CONFLICT (event_id) DO NOTHING;

-- name: get
SELECT *, coalesce(faces_expire_at <= clock_timestamp(), false) AS is_over FROM events WHERE event_id = $1;

-- name: of_number
SELECT *, coalesce(faces_expire_at <= clock_timestamp(), false) AS is_over FROM events WHERE number = $1;

-- Whoever adds photos of an event holds its row, so that no two add one photo at once.
-- name: lock
SELECT *, coalesce(faces_expire_at <= clock_timestamp(), false) AS is_over FROM events WHERE event_id = $1
FOR NO KEY UPDATE;
