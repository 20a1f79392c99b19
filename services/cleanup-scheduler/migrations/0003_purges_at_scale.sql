-- What a purge takes next, without what it took before; and what a purge took, for when it passes something over.
CREATE INDEX media_due ON media (deleted_at, media_id) WHERE state = 'deleted' AND purge_id IS NULL;

CREATE INDEX media_of_purge ON media (purge_id) WHERE purge_id IS NOT NULL;
