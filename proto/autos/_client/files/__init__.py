"""Documents into files: names, transfers that are whole or not at all."""
