-- A ticket is as good as what it was made with: it goes with its session or API key, and so does the socket it opened.

ALTER TABLE tickets
    ADD COLUMN session_hash bytea REFERENCES sessions (token_hash) ON DELETE CASCADE,
    ADD COLUMN api_key_id   uuid  REFERENCES api_keys (id) ON DELETE CASCADE;
