"""Fairness and estimates in simulation, measured against generalized processor sharing."""
