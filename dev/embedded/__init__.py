"""The embedded servers: PostgreSQL, Valkey, S3 and the sandbox portal."""
