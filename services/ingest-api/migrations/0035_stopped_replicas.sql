-- A process that has ended in order stays known for an hour: what it told before may come after its farewell.
ALTER TABLE replicas ADD COLUMN is_stopped boolean NOT NULL DEFAULT false;
