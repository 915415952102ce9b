"""What a portal saw of a bench: visits, slots in use, latencies."""
