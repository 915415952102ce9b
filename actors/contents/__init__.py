"""What a fetched file is: its type, its checks, and pages that are no document."""
