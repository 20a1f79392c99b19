-- What is older than what is known changes nothing: by the store's sequencer where both have one, else by time.
-- name: know
INSERT INTO known_objects (bucket, object_key, is_removed, size_bytes, etag, sequencer, happened_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (bucket, object_key) DO UPDATE
SET is_removed = excluded.is_removed, size_bytes = excluded.size_bytes, etag = excluded.etag,
    sequencer = excluded.sequencer, happened_at = excluded.happened_at, known_at = clock_timestamp()
WHERE CASE WHEN known_objects.sequencer IS NOT NULL AND excluded.sequencer IS NOT NULL
           THEN known_objects.sequencer <= excluded.sequencer
           ELSE known_objects.happened_at <= excluded.happened_at END;

-- What the listing shows is so, whatever was told.
-- name: see
INSERT INTO known_objects (bucket, object_key, is_removed, size_bytes, etag, happened_at)
SELECT $1, seen.object_key, seen.is_removed, seen.size_bytes, seen.etag, seen.happened_at
FROM jsonb_to_recordset($2) AS seen (object_key text, is_removed boolean, size_bytes bigint, etag text,
                                     happened_at timestamptz)
ON CONFLICT (bucket, object_key) DO UPDATE
SET is_removed = excluded.is_removed, size_bytes = excluded.size_bytes, etag = excluded.etag,
    happened_at = excluded.happened_at, known_at = clock_timestamp();

-- name: known
SELECT object_key, is_removed, size_bytes, etag, known_at FROM known_objects
WHERE bucket = $1 AND object_key > $2 AND starts_with(object_key, $3)
ORDER BY object_key;

-- name: begin_sweep
INSERT INTO sweeps (bucket) VALUES ($1) ON CONFLICT DO NOTHING;

-- One process sweeps at a time.
-- name: claim_sweep
SELECT cursor FROM sweeps WHERE bucket = $1 AND due_at <= statement_timestamp() FOR UPDATE SKIP LOCKED;

-- name: end_turn
UPDATE sweeps
SET cursor = $2, rounds = rounds + ($2 = '')::integer, due_at = clock_timestamp() + make_interval(secs => $3)
WHERE bucket = $1;

-- name: prune_removed
DELETE FROM known_objects WHERE is_removed AND known_at < statement_timestamp() - make_interval(secs => $1);
