-- What ended lately is looked at again and again for rows that came late; and nothing asks when deletions became known.
DROP INDEX deletions_known;
CREATE INDEX deletions_ended ON deletions (ended_at);
