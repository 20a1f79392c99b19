-- What became of a selection of a million media is read from its parent, not counted item by item.

-- how many of `items` were refused when they were looked at
ALTER TABLE bulk_jobs ADD COLUMN refused integer NOT NULL DEFAULT 0;

UPDATE bulk_jobs
SET refused = (SELECT count(*) FROM bulk_items WHERE bulk_id = bulk_jobs.id AND error_code IS NOT NULL)
WHERE kind = 'restore';

-- What failed is shown first.
CREATE INDEX bulk_items_refused ON bulk_items (bulk_id, position) WHERE error_code IS NOT NULL;
