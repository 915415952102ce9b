"""`make bench-watch`: thousands of watchers on one server process."""
