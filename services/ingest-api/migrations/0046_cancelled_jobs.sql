-- Pictures that were queued to be rendered anew and are not, because somebody cancelled their selection.
-- What is there keeps to the new constraints, which allow more than the old ones: no row has to be read for them.

ALTER TABLE jobs
    DROP CONSTRAINT jobs_status_check,
    ADD CONSTRAINT jobs_status_check CHECK (status IN ('waiting', 'active', 'completed', 'failed', 'cancelled')) NOT VALID;

ALTER TABLE bulk_items
    DROP CONSTRAINT bulk_items_ended_as_check,
    ADD CONSTRAINT bulk_items_ended_as_check CHECK (ended_as IN ('completed', 'failed', 'cancelled')) NOT VALID;

-- how many jobs of a parent were cancelled
ALTER TABLE bulk_failures ADD COLUMN cancelled integer NOT NULL DEFAULT 0;

-- Selections whose end the requester has not been told of.
ALTER TABLE bulk_jobs ADD COLUMN end_to_tell boolean NOT NULL DEFAULT false;

CREATE INDEX bulk_jobs_end_to_tell ON bulk_jobs (id) WHERE end_to_tell AND is_planned;
