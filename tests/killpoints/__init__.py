"""Processes that kill themselves at a named point, and checks that no work is lost by it."""
