-- What people asked for is found among what the clock did and what was uploaded, for the list of who did what.
CREATE INDEX media_deletions_asked ON media_deletions (id) WHERE is_told AND requested_by IS NOT NULL;
CREATE INDEX bulk_jobs_of_selections ON bulk_jobs (id) WHERE kind IN ('rerender', 'delete', 'hard_delete', 'restore');
CREATE INDEX reconcile_decisions_of_people ON reconcile_decisions (id) WHERE decided_by IS NOT NULL;
