"""The parts of the client. Callers import from `autos`."""
