"""The scheduler and the queue simulated on a virtual clock."""
