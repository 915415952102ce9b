"""Queue positions and estimated ends: measured latencies, request times, the forecast."""
