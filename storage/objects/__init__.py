"""The bucket: the object store, whom it belongs to, and what no row names."""
