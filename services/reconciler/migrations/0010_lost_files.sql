-- What has rotted and has no good copy, so that each is counted once.
CREATE TABLE lost_files (
    object_key    text        COLLATE "C" NOT NULL,
    place         text        NOT NULL,
    wanted_sha256 text        NOT NULL,
    held_sha256   text        NOT NULL,
    found_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (object_key, place)
);
