"""Chaos: the real processes and servers, broken by a seed, and looked at from the outside."""
