-- Nothing reads media by who uploaded them; the index cost every upload a write.
DROP INDEX media_of_uploader;
