"""Which clients may call, over which connections, and how often."""
