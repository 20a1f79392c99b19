"""PostgreSQL: pool, migrations, named queries, unit of work."""
