-- A job of a million media has ten thousand children: its first ones are found without the others.
CREATE INDEX sync_jobs_children_in_order ON sync_jobs (parent_job_id, batch_index) WHERE parent_job_id IS NOT NULL;
DROP INDEX sync_jobs_children;
