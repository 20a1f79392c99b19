-- name: add
INSERT INTO galleries (id, event_id, name, token_hash, pin_hash, may_list, may_search, may_download, expires_at, created_by,
                       created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: by_token
SELECT id, event_id, name, pin_hash, may_list, may_search, may_download, expires_at, revoked_at, created_by, created_at
FROM galleries WHERE token_hash = $1;

-- name: of_event
SELECT id, event_id, name, pin_hash, may_list, may_search, may_download, expires_at, revoked_at, created_by, created_at
FROM galleries WHERE event_id = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3;

-- name: revoke
UPDATE galleries SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE event_id = $1 AND id = $2 RETURNING true;

-- name: recent_searches
SELECT count(*) FROM face_searches
WHERE gallery_id = $1 AND asked_at > statement_timestamp() - make_interval(secs => $2);
