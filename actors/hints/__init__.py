"""Hints from servers, workers and uploaders to the scheduler. Each may be lost."""
