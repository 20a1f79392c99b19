-- name: hold
INSERT INTO staging_leases (upload_id, staging_keys, held_until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (upload_id) DO UPDATE SET staging_keys = excluded.staging_keys, held_until = excluded.held_until;

-- name: release
DELETE FROM staging_leases WHERE upload_id = $1;

-- name: held
SELECT DISTINCT held.key FROM staging_leases, unnest(staging_keys) AS held (key)
WHERE held_until > clock_timestamp() AND held.key = ANY($1::text[]);

-- name: remove_over
DELETE FROM staging_leases WHERE held_until < clock_timestamp();
