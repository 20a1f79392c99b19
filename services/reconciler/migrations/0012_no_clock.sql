-- Nights are told by cleanup-scheduler.
DROP TABLE schedule;
