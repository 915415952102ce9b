"""A connection pooler in transaction mode, as pgbouncer is one, for tests."""
