"""What holds jobs, what a part refuses, and the gauges."""
