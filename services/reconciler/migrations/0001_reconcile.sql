-- What reconciler knows of the records of others, told by events and never asked for.

CREATE TABLE products (
    product_id uuid        PRIMARY KEY,
    version    integer     NOT NULL,
    name       text        NOT NULL,
    is_deleted boolean     NOT NULL,
    known_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Records of images. Removed ones stay a while: an older fact that comes late must not bring them back, and a listing may
-- still show the time before.
CREATE TABLE product_images (
    image_id   uuid        PRIMARY KEY,
    product_id uuid        NOT NULL,
    version    integer     NOT NULL,
    variant_id uuid        NOT NULL,
    weight     text        NOT NULL,
    image_type text        NOT NULL,
    -- ordered by bytes, as stores list their keys
    object_key text        COLLATE "C" NOT NULL,
    mime_type  text        NOT NULL,
    size_bytes bigint      NOT NULL,
    sha256     text,
    on_disk    boolean     NOT NULL,
    is_settled boolean     NOT NULL,
    is_removed boolean     NOT NULL,
    -- by this database's clock
    known_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX product_images_by_key ON product_images (object_key);
CREATE INDEX product_images_of_product ON product_images (product_id, object_key);

-- Where the files of media are. `placed_at` is by the clock of whoever told of it last; null: of the first processing.
CREATE TABLE media (
    media_id   uuid        PRIMARY KEY,
    revision   integer     NOT NULL,
    on_disk    boolean     NOT NULL,
    in_bucket  boolean     NOT NULL,
    placed_at  timestamptz,
    known_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE media_files (
    media_id   uuid   NOT NULL REFERENCES media ON DELETE CASCADE,
    object_key text   COLLATE "C" NOT NULL,
    mime_type  text   NOT NULL,
    size_bytes bigint NOT NULL,
    sha256     text   NOT NULL,
    PRIMARY KEY (media_id, object_key)
);

CREATE INDEX media_files_by_key ON media_files (object_key);
