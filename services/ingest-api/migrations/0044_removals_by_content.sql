-- A deleted photo takes the files with it that lay there when somebody asked for it, and no others.
ALTER TABLE event_photos
    -- of the contents that were told of last; null where none was told, or it is gone
    ADD COLUMN preview_etag text,
    ADD COLUMN image_etag text;

ALTER TABLE photo_removals
    -- null where the event was forgotten before there was this column
    ADD COLUMN event_id uuid,
    -- of the files, in the order of their keys: null where nobody knew, then any file goes; '' where none lay there
    ADD COLUMN etags text[],
    -- files that came later under the keys, and stay
    ADD COLUMN kept_keys text[] NOT NULL DEFAULT '{}',
    -- rows stay beyond it only where files were kept
    ADD COLUMN completed_at timestamptz;

UPDATE photo_removals AS removal SET event_id = photo.event_id FROM event_photos AS photo WHERE photo.id = removal.photo_id;

DROP INDEX photo_removals_due;
CREATE INDEX photo_removals_due ON photo_removals (due_at) WHERE completed_at IS NULL;
CREATE INDEX photo_removals_completed ON photo_removals (completed_at) WHERE completed_at IS NOT NULL;
