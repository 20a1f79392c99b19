"""One object store interface over local disk and S3."""
