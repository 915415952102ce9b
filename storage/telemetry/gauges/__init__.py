"""Gauges that a process reads of itself when its page is fetched."""
