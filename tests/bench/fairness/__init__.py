"""Simulate fairness and estimates, and compare them with generalized processor sharing."""
