"""The log of a client's events: numbered in the order in which readers may see them.

sql/jobs/end_job.sql writes an event when a run ends.
"""
