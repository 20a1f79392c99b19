-- name: want
INSERT INTO packs (pack, pack_version, revision)
SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM packs WHERE pack = $1 AND pack_version = $2 AND revision = $3)
ON CONFLICT DO NOTHING;

-- name: wanted
SELECT pack, pack_version FROM wanted_pack;

-- name: appear
INSERT INTO replicas (replica_id, packs) VALUES ($1, $2)
ON CONFLICT (replica_id) DO UPDATE SET packs = excluded.packs, seen_at = clock_timestamp();

-- name: leave
DELETE FROM replicas WHERE replica_id = $1;

-- name: forget_replicas
DELETE FROM replicas WHERE seen_at < statement_timestamp() - make_interval(secs => $1);

-- name: events_by_pack
SELECT pack, pack_version, count(*) AS events FROM events WHERE pack IS NOT NULL GROUP BY pack, pack_version;

-- name: photos_waiting
SELECT count(*) FROM second_looks WHERE state = 'waiting';
