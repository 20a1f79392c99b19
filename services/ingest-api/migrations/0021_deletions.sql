-- Deleting media: softly, so that they can be restored, and for good.

ALTER TABLE media
    ADD COLUMN deleted_by       uuid,
    -- grows with every deletion and restoration, so that who reads of them knows the newer one
    ADD COLUMN deletion_version integer NOT NULL DEFAULT 0,
    -- set once it goes for good: from then on it is nowhere to be seen, and nothing brings it back
    ADD COLUMN deletion_id      uuid;

-- A deletion for good, and afterwards its receipt: it outlives the medium.
CREATE TABLE media_deletions (
    id           uuid        PRIMARY KEY,
    media_id     uuid        NOT NULL UNIQUE,
    version      integer     NOT NULL,
    revision     integer     NOT NULL,
    entity_type  text        NOT NULL,
    entity_id    text,
    keeps_bucket boolean     NOT NULL,
    reason       text        NOT NULL CHECK (reason IN ('requested', 'retention')),
    purge_id     uuid,
    requested_by uuid,
    -- whether who asked is told of its end; of many at once the parent's progress tells
    is_told      boolean     NOT NULL,
    -- forgetting: others let go of it. removing: nobody renders it any more, its files go
    stage        text        NOT NULL DEFAULT 'forgetting' CHECK (stage IN ('forgetting', 'removing', 'completed')),
    -- the services that have not answered
    owing        text[]      NOT NULL,
    -- what each of them told, by service
    slices       jsonb       NOT NULL DEFAULT '{}',
    -- why files are still there, as s3-syncer told last
    trouble      jsonb,
    -- who does not answer is asked again, less and less often
    asked        integer     NOT NULL DEFAULT 1,
    ask_at       timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 minute',
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz
);

CREATE INDEX media_deletions_open ON media_deletions (id DESC) WHERE completed_at IS NULL;
CREATE INDEX media_deletions_to_ask ON media_deletions (ask_at) WHERE completed_at IS NULL;
CREATE INDEX media_deletions_completed ON media_deletions (completed_at) WHERE completed_at IS NOT NULL;

-- What names a medium goes with it, however large the table is.
CREATE INDEX notices_of_medium ON notices (media_id) WHERE media_id IS NOT NULL;
CREATE INDEX idempotency_keys_of_medium ON idempotency_keys (media_id);
CREATE INDEX sync_results_of_medium ON sync_results (media_id);
CREATE INDEX bulk_items_of_medium ON bulk_items (media_id) WHERE media_id IS NOT NULL;
CREATE INDEX direct_uploads_of_medium ON direct_uploads (media_id);

-- Selections of media that are deleted or restored; an item's job is its deletion for good.
ALTER TABLE bulk_jobs
    DROP CONSTRAINT bulk_jobs_kind_check,
    ADD CONSTRAINT bulk_jobs_kind_check CHECK (kind IN ('upload', 'rerender', 'delete', 'hard_delete', 'restore')),
    -- of a filter: whether it selects among the deleted media
    ADD COLUMN is_of_deleted boolean NOT NULL DEFAULT false;
