-- The upright preview whose faces are known, so that places on it mean the same where it is saved in another size.
ALTER TABLE photos ADD COLUMN width_px integer, ADD COLUMN height_px integer;

-- The box in parts of the width and the height; null where they were not known.
ALTER TABLE erased_faces ADD COLUMN place real[];
