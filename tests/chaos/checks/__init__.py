"""Check from the outside the promises that must hold after a run."""
