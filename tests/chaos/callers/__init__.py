"""Callers of a run: their jobs, calls, watches, and the acknowledgements they got."""
