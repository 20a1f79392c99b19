-- Files of older revisions stay known for a while: they are still kept for who has their addresses. `superseded_at` is when
-- a newer revision became known, by this database's clock; null: of the present one.
ALTER TABLE media_files
    ADD COLUMN revision      integer NOT NULL DEFAULT 0,
    ADD COLUMN superseded_at timestamptz;

UPDATE media_files SET revision = media.revision FROM media WHERE media.media_id = media_files.media_id;

ALTER TABLE media_files ALTER COLUMN revision DROP DEFAULT;
CREATE INDEX media_files_superseded ON media_files (superseded_at) WHERE superseded_at IS NOT NULL;
