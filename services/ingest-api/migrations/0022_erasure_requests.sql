-- Guests ask with a gallery's link to have their faces erased; who reaches the event confirms or refuses. Of the selfie
-- nothing is kept but the faces it was like, by photo and place.
ALTER TABLE face_erasures
    ALTER COLUMN asked_by DROP NOT NULL,
    -- in place of an account: a guest with this link
    ADD COLUMN gallery_id      uuid,
    -- with it the guest reads how the request stands, also when the link is over
    ADD COLUMN secret_hash     bytea,
    -- of the text that was agreed to; null where the event has none
    ADD COLUMN consent_version integer,
    ADD COLUMN decided_by      uuid,
    ADD COLUMN refused_at      timestamptz,
    -- what nobody confirmed is forgotten then
    ADD COLUMN expires_at      timestamptz,
    ADD CHECK ((asked_by IS NULL) = (gallery_id IS NOT NULL)),
    ADD CHECK ((gallery_id IS NULL) = (secret_hash IS NULL)),
    ADD CHECK (refused_at IS NULL OR confirmed_at IS NULL);

UPDATE face_erasures SET expires_at = asked_at + interval '1 hour';
ALTER TABLE face_erasures ALTER COLUMN expires_at SET NOT NULL;

DROP INDEX face_erasures_unconfirmed;
CREATE INDEX face_erasures_unconfirmed ON face_erasures (expires_at) WHERE confirmed_at IS NULL;
CREATE INDEX face_erasures_requested ON face_erasures (event_id, id)
    WHERE gallery_id IS NOT NULL AND confirmed_at IS NULL AND refused_at IS NULL;
