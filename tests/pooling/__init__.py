"""A connection pooler in transaction mode, like pgbouncer, for tests."""
