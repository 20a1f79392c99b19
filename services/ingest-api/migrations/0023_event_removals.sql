-- What is left of deleted events: rows of their photos, and files where whoever deleted the event asked for that too.
CREATE TABLE event_removals (
    event_id      uuid        PRIMARY KEY REFERENCES photo_events,
    removes_files boolean     NOT NULL,
    -- whose account; accounts may go, so nothing is referenced
    asked_by      uuid        NOT NULL,
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    files_removed bigint      NOT NULL DEFAULT 0,
    -- why it does not go on; it is tried again all the same
    problem       text,
    -- when it goes on, or is tried again
    due_at        timestamptz NOT NULL,
    completed_at  timestamptz
);

CREATE INDEX event_removals_due ON event_removals (due_at) WHERE completed_at IS NULL;

INSERT INTO event_removals (event_id, removes_files, asked_by, asked_at, due_at)
SELECT id, false, owner, updated_at, clock_timestamp() FROM photo_events WHERE is_deleted;
