-- name: note
-- A copy of the fact that comes late changes nothing: what is due stays due. What goes for good takes all revisions with it.
INSERT INTO superseded (media_id, revision, files, due_at)
SELECT $1, $2, $3, clock_timestamp() + make_interval(secs => $4)
WHERE NOT EXISTS (SELECT FROM deletions WHERE deletions.media_id = $1)
ON CONFLICT DO NOTHING;

-- name: due
-- Not before this service, too, knows a newer revision: until then its jobs work on these files. Nor while one has the
-- medium in hand: it may have begun before.
SELECT superseded.media_id, superseded.revision, superseded.files, media.files AS present_files
FROM superseded JOIN media USING (media_id)
WHERE superseded.due_at <= statement_timestamp() AND media.revision > superseded.revision
  AND (held_by IS NULL
       OR (held_until < clock_timestamp()
           AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.media_id = media.media_id)))
ORDER BY superseded.due_at
LIMIT $1;

-- name: forget
DELETE FROM superseded WHERE media_id = $1 AND revision = $2;

-- name: put_off
UPDATE superseded SET due_at = clock_timestamp() + make_interval(secs => $3) WHERE media_id = $1 AND revision = $2;
