"""Documents: read for callers, recorded, uploaded, leased."""
