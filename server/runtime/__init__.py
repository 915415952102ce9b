"""The dependencies, threads and background tasks of the server process."""
