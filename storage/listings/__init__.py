"""The listing of a case: its values, its import into rows, and its record."""
