-- Retention and purges remove rows by the hundred thousand, in small batches. Vacuum follows them when one row in fifty is
-- dead, so that the space is there for the next rows and each vacuum is short.
ALTER TABLE media SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE notices SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
