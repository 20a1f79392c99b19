-- Products, their variants and images, and the changes of their files that are under way.

CREATE TABLE products (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL,
    -- grows with every change of the product or of its variants
    version    integer     NOT NULL DEFAULT 1,
    -- while it is being deleted: nobody sees it, and a failure brings it back
    is_hidden  boolean     NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE product_variants (
    id           uuid    PRIMARY KEY,
    product_id   uuid    NOT NULL REFERENCES products ON DELETE CASCADE,
    weight       text    NOT NULL,
    -- while files move to another weight: the one that the variant has not now
    other_weight text,
    is_active    boolean NOT NULL DEFAULT true,
    is_hidden    boolean NOT NULL DEFAULT false,
    UNIQUE (product_id, weight)
);

CREATE TABLE product_images (
    id         uuid    PRIMARY KEY,
    product_id uuid    NOT NULL REFERENCES products ON DELETE CASCADE,
    variant_id uuid    NOT NULL REFERENCES product_variants ON DELETE CASCADE,
    image_type text    NOT NULL CHECK (image_type IN ('hero-card', 'info-card', 'other-images')),
    object_key text    NOT NULL UNIQUE,
    mime_type  text    NOT NULL,
    size_bytes bigint  NOT NULL,
    sha256     text,
    on_disk    boolean NOT NULL,
    -- counts the changes of this record, beyond its removal and return
    version    integer NOT NULL DEFAULT 1,
    -- the change that works on its files now
    change_id  uuid,
    -- while its files arrive or leave: nobody sees it
    is_hidden  boolean NOT NULL DEFAULT false,
    -- while its files move: the file that the record does not name now
    other_file jsonb
);

CREATE INDEX product_images_of_product ON product_images (product_id, id);
CREATE INDEX product_images_of_variant ON product_images (variant_id);
CREATE INDEX product_images_in_change ON product_images (change_id) WHERE change_id IS NOT NULL;

-- Records that a repair took away, so that it can bring them back.
CREATE TABLE removed_product_images (
    image_id   uuid        PRIMARY KEY,
    product_id uuid        NOT NULL,
    record     jsonb       NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row per change of files that somebody asked for; of one product they take place one after the other.
CREATE TABLE product_changes (
    -- UUIDv7: ordered by time, which is the order of the queue
    id            uuid        PRIMARY KEY,
    -- products go before the changes that removed them
    product_id    uuid        NOT NULL,
    kind          text        NOT NULL,
    status        text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'active', 'completed', 'failed')),
    version       integer     NOT NULL DEFAULT 1,
    -- what is wanted
    request       jsonb       NOT NULL,
    -- the file steps to do, and how far they are
    work          jsonb,
    stage         text,
    stage_part    integer,
    -- the file task whose end it waits for
    task_id       uuid,
    -- why it is being taken back, or failed
    error_status  integer,
    error_code    text,
    error_detail  text,
    error_step    text,
    result        jsonb,
    requested_by  uuid        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    -- when its task is asked for again, should no answer come
    reminded      integer     NOT NULL DEFAULT 0,
    remind_at     timestamptz
);

CREATE UNIQUE INDEX product_changes_active ON product_changes (product_id) WHERE status = 'active';
CREATE INDEX product_changes_waiting ON product_changes (product_id, id) WHERE status = 'waiting';
CREATE INDEX product_changes_task ON product_changes (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX product_changes_due ON product_changes (remind_at) WHERE status = 'active';
CREATE INDEX product_changes_finished ON product_changes (finished_at) WHERE finished_at IS NOT NULL;
