"""Weighted fair queueing by client and job, under caps. Pure."""
