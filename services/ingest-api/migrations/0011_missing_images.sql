-- Since when the bucket is known to hold no file of an image: told by the bucket, and looked at. A repair brings it back.
ALTER TABLE product_images ADD COLUMN missing_since timestamptz;
