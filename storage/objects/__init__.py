"""The bucket: the object store, its installation, and objects without a row."""
