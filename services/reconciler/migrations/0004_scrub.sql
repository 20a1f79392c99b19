-- How far the scrub is; '' at the beginning of a round.
CREATE TABLE scrubs (
    name     text        PRIMARY KEY,
    cursor   text        COLLATE "C" NOT NULL DEFAULT '',
    due_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    rounds   bigint      NOT NULL DEFAULT 0
);

CREATE INDEX plan_items_in_work ON plan_items (object_key) WHERE status IN ('planned', 'sent', 'returning', 'undoing');
