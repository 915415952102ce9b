"""`make test-debian`: Autos on the PostgreSQL and the Redis of Debian, with the least rights."""
