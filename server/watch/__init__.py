"""WatchProgress: one feed per watched job, serialized once for all of its watchers."""
