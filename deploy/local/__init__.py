"""The whole system on one Linux machine from packages alone, under one supervisor, bound to 127.0.0.1."""
