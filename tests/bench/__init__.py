"""How good a guest Autos is, measured at the portal: real processes, and a simulation."""
