-- Files that came into the folder of an event after it was deleted: nobody has asked for their removal.
ALTER TABLE event_removals ADD COLUMN files_kept bigint NOT NULL DEFAULT 0;
