"""Checks of the source that `make check` runs beside those of other tools."""
