"""Documents: queries for callers, records of files, uploads, leases."""
