"""The event loop, thread pool, turns of clients and background tasks of the server process."""
