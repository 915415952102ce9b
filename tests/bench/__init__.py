"""Measure the load that Autos puts on the portal: with real processes, and in a simulation."""
