-- Media that go for good. A row stays when their files are gone: it keeps what comes late from acting on the medium again.
CREATE TABLE deletions (
    media_id     uuid        PRIMARY KEY,
    deletion_id  uuid        NOT NULL,
    keeps_bucket boolean     NOT NULL,
    known_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- what else than the medium's own folders is to be emptied; null until the removal is commanded
    keys         text[],
    staging_keys text[],
    -- every file that was found and had to go, with its place and size: written before it goes
    files        jsonb       NOT NULL DEFAULT '[]',
    -- rows of other tables that went with it
    records      integer     NOT NULL DEFAULT 0,
    -- when to look (again); null: nothing is left to do. `wanted` grows with each wish, so that one that comes while a
    -- look is under way is not taken for done
    due_at       timestamptz,
    wanted       integer     NOT NULL DEFAULT 0,
    attempts     integer     NOT NULL DEFAULT 0,
    told_trouble text,
    ended_at     timestamptz
);

CREATE INDEX deletions_due ON deletions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deletions_known ON deletions (known_at);
