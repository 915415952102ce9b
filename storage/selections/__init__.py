"""Which documents of a case are wanted, as pure rules."""
