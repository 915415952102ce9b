"""A sandbox of the portal's login server."""
