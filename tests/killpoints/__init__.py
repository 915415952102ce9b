"""Processes that kill themselves at a named point, and proof that nothing is lost by it."""
