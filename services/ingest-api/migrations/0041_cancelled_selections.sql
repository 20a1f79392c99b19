-- Selections of which nothing more is begun because somebody cancelled them.

ALTER TABLE bulk_jobs
    ADD COLUMN cancelled_at timestamptz,
    ADD COLUMN cancelled_by uuid,
    ADD CONSTRAINT bulk_jobs_cancelled_are_planned CHECK (cancelled_at IS NULL OR is_planned);
