"""Events leave with the state they describe: outbox table, relay."""
