"""Plan the faults of a run and inject them."""
