"""Kafka in and out: topics, consumers with order per key, retries and dead letters."""
