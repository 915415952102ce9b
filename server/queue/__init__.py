"""Queue positions and estimated ends of running jobs, as callers see them."""
