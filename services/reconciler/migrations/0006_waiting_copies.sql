-- The bucket is to get a copy of what lies on the disk, and perhaps has a part of it.
ALTER TABLE media ADD COLUMN copy_waits boolean NOT NULL DEFAULT false;
