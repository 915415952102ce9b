"""Checks of the source that `make check` runs in addition to those of other tools."""
