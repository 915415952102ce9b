"""What proto/client.py is made of. Callers import from proto.client."""
