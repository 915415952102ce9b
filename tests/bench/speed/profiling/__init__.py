"""Where the time goes: processor time, stacks, statements, waits."""
