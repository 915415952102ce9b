"""The content of a fetched file: its type, its checks, and pages that are no document."""
