"""Profile CPU time, stacks, statements and waits."""
