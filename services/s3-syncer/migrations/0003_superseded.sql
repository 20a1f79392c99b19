-- Revisions of media that nobody is shown any more; their files go when they are due.
CREATE TABLE superseded (
    media_id uuid        NOT NULL,
    revision integer     NOT NULL,
    -- under the keys that they had last; whatever else lies in the revision's folder goes with them
    files    jsonb       NOT NULL,
    due_at   timestamptz NOT NULL,
    PRIMARY KEY (media_id, revision)
);

CREATE INDEX superseded_due ON superseded (due_at);
