"""Total time limits, and retries while PostgreSQL is unavailable."""
