-- Who deleted and restored a medium and when, for its timeline; goes with the medium.
CREATE TABLE media_changes (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    media_id    uuid        NOT NULL REFERENCES media (id) ON DELETE CASCADE,
    what        text        NOT NULL CHECK (what IN ('deleted', 'restored')),
    done_by     uuid,
    happened_at timestamptz NOT NULL
);

CREATE INDEX media_changes_of_medium ON media_changes (media_id);
