"""The tables of ingest-api, each set behind one class."""
