"""Metrics and traces of a process.

`series` defines every counter and histogram, `signals` has the calls that record them. A class of
gauges reads its values when Prometheus scrapes the page. Gauges of rows: storage/health/gauges.py.
"""
