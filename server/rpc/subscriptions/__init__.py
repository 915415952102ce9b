"""Watching cases: requests, methods and messages."""
