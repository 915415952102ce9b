"""Leases and heartbeats that a process renews while it works."""
