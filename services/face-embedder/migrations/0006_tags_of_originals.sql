-- The tag of an original is known for every photo that has one from the next sync on, and told to others: those of originals
-- that a preview is no longer made of were those of earlier ones.
UPDATE photos SET original_etag = NULL WHERE NOT makes_preview AND original_etag IS NOT NULL;
