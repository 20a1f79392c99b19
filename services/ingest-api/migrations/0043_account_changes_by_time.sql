-- What was done to accounts and API keys goes after its time, and is found by it.
CREATE INDEX account_changes_by_time ON account_changes (done_at);
