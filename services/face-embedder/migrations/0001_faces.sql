-- The type of embeddings is an extension's: `python -m shared.db.provision` makes it in this schema, as administrator.

-- Events as they were told of; one that is known from its sync alone has version 0.
CREATE TABLE events (
    event_id        uuid    PRIMARY KEY,
    number          bigint  NOT NULL UNIQUE,
    version         integer NOT NULL DEFAULT 0,
    auto_index      boolean NOT NULL DEFAULT false,
    is_searchable   boolean NOT NULL DEFAULT false,
    faces_expire_at timestamptz,
    is_deleted      boolean NOT NULL DEFAULT false
);

CREATE TABLE photos (
    photo_id      uuid    PRIMARY KEY,
    event_id      uuid    NOT NULL REFERENCES events,
    -- the preview, which is what is looked at, and its file name without its ending
    s3_key        text    NOT NULL,
    stem          text    NOT NULL,
    -- the original, if there is one
    image_key     text,
    -- the preview's content that was seen last; none while a preview is to be made
    preview_etag  text,
    -- the original's, where the preview is made of it
    original_etag text,
    makes_preview boolean NOT NULL DEFAULT false,
    -- of the preview that is made: it tells our own object from what somebody else puts in its place
    made_sha256   text,
    -- counts contents; an order for an older one does nothing
    generation    integer NOT NULL DEFAULT 1,
    -- grows with everything that others are told
    version       integer NOT NULL DEFAULT 1,
    status        text    NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'indexed', 'no_face_detected', 'failed', 'removed')),
    faces         integer NOT NULL DEFAULT 0,
    confidence    real    NOT NULL DEFAULT 0,
    code          text,
    detail        text,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (event_id, s3_key)
);

CREATE INDEX photos_stem ON photos (event_id, stem);
CREATE INDEX photos_original ON photos (event_id, image_key) WHERE image_key IS NOT NULL;
CREATE INDEX photos_with_faces ON photos (event_id) WHERE faces > 0;

CREATE TABLE faces (
    face_id      uuid NOT NULL PRIMARY KEY,
    event_id     uuid NOT NULL,
    photo_id     uuid NOT NULL REFERENCES photos ON DELETE CASCADE,
    -- embeddings of different packs or versions are never compared
    pack         text NOT NULL,
    pack_version text NOT NULL,
    embedding    halfvec(512) NOT NULL,
    -- x1, y1, x2, y2 and five points, in pixels of the upright preview
    box          real[] NOT NULL,
    landmarks    real[] NOT NULL,
    score        real NOT NULL,
    size_px      real NOT NULL,
    sharpness    real NOT NULL,
    yaw          real NOT NULL,
    pitch        real NOT NULL,
    roll         real NOT NULL
);

-- In the row itself: an exact search reads every embedding of an event.
ALTER TABLE faces ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX faces_event ON faces (event_id, pack, pack_version);
CREATE INDEX faces_photo ON faces (photo_id);
CREATE INDEX faces_near ON faces USING hnsw (embedding halfvec_cosine_ops);

-- A look at an event's folders, and what came of it. Counts are sums over task_photos.
CREATE TABLE tasks (
    task_id           uuid    PRIMARY KEY,
    event_id          uuid    NOT NULL REFERENCES events,
    s3_prefix         text    NOT NULL,
    status            text    NOT NULL DEFAULT 'listing'
        CHECK (status IN ('listing', 'indexing', 'completed', 'failed')),
    version           integer NOT NULL DEFAULT 1,
    -- how far the listing is: the folder, and the last key of it that is done
    folder            text    NOT NULL DEFAULT 'previews' CHECK (folder IN ('previews', 'originals')),
    cursor            text    NOT NULL DEFAULT '',
    listing_failures  integer NOT NULL DEFAULT 0,
    -- when somebody should go on with the listing; whoever is at it keeps putting it off, a dead process does not
    due_at            timestamptz DEFAULT clock_timestamp(),
    total_found       integer NOT NULL DEFAULT 0,
    new_photos        integer NOT NULL DEFAULT 0,
    skipped           integer NOT NULL DEFAULT 0,
    processed         integer NOT NULL DEFAULT 0,
    failed            integer NOT NULL DEFAULT 0,
    no_face           integer NOT NULL DEFAULT 0,
    originals_missing integer NOT NULL DEFAULT 0,
    previews_made     integer NOT NULL DEFAULT 0,
    message           text    NOT NULL DEFAULT '',
    changed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (total_found = new_photos + skipped),
    CHECK (processed + failed <= new_photos)
);

CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (changed_at) WHERE status IN ('completed', 'failed');

-- Every photo that a task found. One that waits is done as soon as a content of that generation or a later one is.
CREATE TABLE task_photos (
    task_id      uuid    NOT NULL REFERENCES tasks ON DELETE CASCADE,
    photo_id     uuid    NOT NULL REFERENCES photos ON DELETE CASCADE,
    generation   integer NOT NULL,
    state        text    NOT NULL CHECK (state IN ('skipped', 'waiting', 'done')),
    has_original boolean NOT NULL DEFAULT false,
    PRIMARY KEY (task_id, photo_id)
);

CREATE INDEX task_photos_waiting ON task_photos (photo_id) WHERE state = 'waiting';
