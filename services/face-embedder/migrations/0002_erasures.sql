-- Where faces were that somebody had erased: looking at a photo again does not bring them back. Nothing here says whose.
CREATE TABLE erased_faces (
    erasure_id   uuid        NOT NULL,
    event_id     uuid        NOT NULL REFERENCES events,
    photo_id     uuid        NOT NULL REFERENCES photos ON DELETE CASCADE,
    -- the same content under another key of the event has the same faces
    preview_etag text,
    -- x1, y1, x2, y2 in pixels of the upright preview
    box          real[]      NOT NULL,
    erased_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (erasure_id, photo_id, box)
);

CREATE INDEX erased_faces_of_photo ON erased_faces (photo_id);
CREATE INDEX erased_faces_of_content ON erased_faces (event_id, preview_etag);
