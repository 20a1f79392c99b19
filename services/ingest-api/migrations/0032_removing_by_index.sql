-- What retention removes of old parents is found by their age: the young ones are not looked at.
CREATE INDEX bulk_jobs_by_time ON bulk_jobs (created_at) WHERE is_planned;

-- A deletion changes with every answer: rows keep room beside them, so that a change needs no new entries of indexes.
ALTER TABLE media_deletions
    SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
