-- A file that takes another one's place: what it says of itself, until it is shown.
ALTER TABLE jobs ADD COLUMN replacement jsonb;

-- While above `revision`, a file of that revision is being processed that will take the present one's place.
ALTER TABLE media ADD COLUMN replacing_revision integer;
