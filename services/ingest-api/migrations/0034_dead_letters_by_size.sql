-- Dead letters are bounded by what they hold, and go with the medium that they are about.

DELETE FROM dead_letters USING media_deletions
WHERE media_deletions.stage = 'completed' AND dead_letters.key = media_deletions.media_id::text
  AND coalesce(dead_letters.type, '') NOT IN (
      'image.discarded.v1', 'image.media-forgotten.v1', 'media.deletion-begun.v1', 'media.deletion-completed.v1',
      'reconcile.media-forgotten.v1', 'sync.media-files-removed.v1', 'sync.media-removal-delayed.v1',
      'sync.remove-media-files.v1'
  );

ALTER TABLE dead_letters
    ADD COLUMN size_bytes integer NOT NULL
        GENERATED ALWAYS AS (octet_length(payload) + octet_length(headers::text)) STORED;

-- With the sizes: adding them up reads no letter.
DROP INDEX dead_letters_newest;
CREATE INDEX dead_letters_newest ON dead_letters (dead_lettered_at, id) INCLUDE (size_bytes);

-- Of keys that may be a medium's id. Others may be longer than an index can bear.
CREATE INDEX dead_letters_of_medium ON dead_letters (key) WHERE octet_length(key) = 36;
