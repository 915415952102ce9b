"""Holds of jobs, refusals of a dependency, and the gauges."""
