"""The end of a run, and the termination of what is left of a job."""
