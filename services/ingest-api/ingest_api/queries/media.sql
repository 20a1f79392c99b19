-- name: media
-- What goes for good is nowhere to be seen from the first moment on.
SELECT * FROM media WHERE id = $1 AND deletion_id IS NULL;

-- name: list_media
-- $7 is the pattern of $9, whose pieces say which rows can match at all.
SELECT * FROM media
WHERE ($1::uuid IS NULL OR id < $1)
  AND ($2::text IS NULL OR entity_type = $2)
  AND ($3::text IS NULL OR entity_id = $3)
  AND ($4::text IS NULL OR status = $4)
  AND ($5::text IS NULL OR storage_status = $5)
  AND (deleted_at IS NOT NULL) = $6 AND deletion_id IS NULL
  AND ($7::text IS NULL OR filename ILIKE $7 OR alt ILIKE $7 OR title ILIKE $7)
  AND ($9::text IS NULL OR pieces_of(filename, alt, title) @> pieces_of($9))
ORDER BY id DESC
LIMIT $8;

-- name: describe
UPDATE media
SET alt = CASE WHEN $2 THEN $3 ELSE alt END,
    title = CASE WHEN $4 THEN $5 ELSE title END,
    updated_at = clock_timestamp()
WHERE id = $1 AND deleted_at IS NULL
RETURNING *;

-- name: record_processed
-- Only where no newer revision is shown: the outcome of a file that was replaced meanwhile must not come back. A further
-- revision takes the place of the one that is shown, whose files are given back. Where the files are is left as it is
-- when s3-syncer has told of this revision already: that is newer.
UPDATE media
SET revision = $2, last_revision = greatest(last_revision, $2), status = 'completed', width_px = $3, height_px = $4,
    placeholder = $7,
    original = CASE WHEN placed_revision = $2 THEN media.original ELSE $5 END,
    variants = CASE WHEN placed_revision = $2 THEN media.variants ELSE $6 END,
    storage_status = CASE WHEN placed_revision = $2 THEN storage_status ELSE $8 END,
    on_disk = CASE WHEN placed_revision = $2 THEN on_disk ELSE $9 END,
    in_bucket = CASE WHEN placed_revision = $2 THEN in_bucket ELSE $10 END,
    filename = coalesce(new.file ->> 'filename', filename), mime_type = coalesce(new.file ->> 'mime_type', mime_type),
    size_bytes = coalesce((new.file ->> 'size_bytes')::bigint, size_bytes),
    sha256 = coalesce(new.file ->> 'sha256', sha256),
    content_revision = CASE WHEN new.file IS NULL THEN content_revision ELSE $2 END,
    updated_at = clock_timestamp()
FROM (SELECT id, revision, original, variants FROM media WHERE id = $1 FOR UPDATE) AS shown
     LEFT JOIN (SELECT media_id, replacement AS file FROM jobs WHERE id = $11) AS new ON new.media_id = shown.id
WHERE media.id = shown.id AND shown.revision <= $2
RETURNING media.private, shown.revision, shown.original, shown.variants;

-- name: record_placed
-- Only for the revision that is shown, and never over a later fact of it; or for a further one, of which nobody told
-- yet that it is rendered.
UPDATE media
SET revision = $2, last_revision = greatest(last_revision, $2), storage_status = $3, on_disk = $4, in_bucket = $5,
    original = $6, variants = $7, placed_revision = $2, placed_at = $8, updated_at = clock_timestamp()
FROM (SELECT id, revision, original, variants FROM media WHERE id = $1 FOR UPDATE) AS shown
WHERE media.id = shown.id
  AND (shown.revision < $2
       OR (shown.revision = $2 AND (placed_revision IS DISTINCT FROM $2 OR placed_at < $8)))
RETURNING media.private, shown.revision, shown.original, shown.variants;

-- name: record_failed
-- A file that was to take another one's place, and can't, leaves the medium as it was.
UPDATE media
SET status = CASE WHEN revision = $2 THEN 'failed' ELSE status END,
    replacing_revision = nullif(replacing_revision, $2), updated_at = clock_timestamp()
WHERE id = $1 AND ((revision = $2 AND status = 'processing') OR replacing_revision = $2);

-- name: record_resumed
UPDATE media SET status = 'processing', updated_at = clock_timestamp()
WHERE id = $1 AND revision = $2 AND status = 'failed';
