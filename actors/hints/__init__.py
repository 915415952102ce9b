"""Hints that servers, workers and uploaders send to the scheduler. Each may be lost."""
