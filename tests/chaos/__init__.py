"""Chaos: break the real processes and servers by a seeded plan, and check from the outside."""
