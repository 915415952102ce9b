"""The faults of a run: when each comes, and how it is carried out."""
