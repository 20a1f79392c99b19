-- How often work on the run has failed by something unexpected, one time after the other.
ALTER TABLE runs ADD COLUMN attempts integer NOT NULL DEFAULT 0;
