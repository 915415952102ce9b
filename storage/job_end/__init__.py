"""The end of a run, and the termination of its remaining documents."""
