-- Every row of the outbox dies twice, once sent and once pruned. Vacuum comes when one row in fifty is dead, not one in
-- five: the relay reads along the index of unsent rows, past all that are dead in it.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
