"""What must be true after a run, checked from the outside."""
