"""`make run`, `make demo`, checks and generated pages. Production imports nothing of it."""
