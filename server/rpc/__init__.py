"""The RPCs: they check requests, call storage, and convert results and errors to messages."""
