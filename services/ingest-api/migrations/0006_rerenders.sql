-- Rendering media anew: a parent selects media, its jobs render a further revision of each beside the one that is shown.

ALTER TABLE media
    -- the highest revision that was given out; above `revision` while a further one is rendered
    ADD COLUMN last_revision integer NOT NULL DEFAULT 1,
    -- since which revision the uploaded file is the same: a signed address of any since then opens the picture
    ADD COLUMN content_revision integer NOT NULL DEFAULT 1;

UPDATE media SET last_revision = revision, content_revision = revision WHERE revision > 1;

ALTER TABLE jobs ADD COLUMN kind text NOT NULL DEFAULT 'upload' CHECK (kind IN ('upload', 'rerender'));

-- How many uploads wait is asked at every upload in hybrid mode, however many pictures are rendered anew meanwhile.
CREATE INDEX jobs_pending_uploads ON jobs (id) WHERE status IN ('waiting', 'active') AND kind = 'upload';
CREATE INDEX jobs_pending_rerenders ON jobs (id) WHERE status IN ('waiting', 'active') AND kind = 'rerender';

-- A selection becomes jobs a page at a time: `plan_cursor` is the last medium that has been looked at.
ALTER TABLE bulk_jobs
    ADD COLUMN kind        text    NOT NULL DEFAULT 'upload' CHECK (kind IN ('upload', 'rerender')),
    ADD COLUMN media_ids   uuid[],
    ADD COLUMN filter      jsonb,
    -- how many media it was when it was asked for
    ADD COLUMN selected    integer NOT NULL DEFAULT 0,
    ADD COLUMN plan_cursor uuid,
    ADD COLUMN items       integer NOT NULL DEFAULT 0,
    ADD COLUMN is_planned  boolean NOT NULL DEFAULT true;

CREATE INDEX bulk_jobs_unplanned ON bulk_jobs (id) WHERE NOT is_planned;
