-- What names a medium goes with it, however many items are kept.
CREATE INDEX items_of_medium ON items (media_id);
