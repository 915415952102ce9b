"""Authentication of clients, TLS, and the limits of clients and connections."""
