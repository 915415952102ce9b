"""The listing of a case: values, import into rows, its record."""
