"""What the scheduler reads and writes: running jobs, slots, workers, and the leader's lease."""
