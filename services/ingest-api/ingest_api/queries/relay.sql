-- name: wake_relay
SELECT pg_notify($1, '');
