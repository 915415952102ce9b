"""The steps of a job: list, download, upload. Plain functions that the actors call."""
