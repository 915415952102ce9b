"""Callers of a run: their jobs, calls, watches, and what they were promised."""
