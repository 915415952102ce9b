"""Simulate the scheduler and the queue on a virtual clock."""
