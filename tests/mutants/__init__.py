"""Mutation tests: remove one safeguard at a time; a test must fail."""
