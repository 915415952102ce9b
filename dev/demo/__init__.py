"""`make demo`: its script, its environment and its verification of the result."""
