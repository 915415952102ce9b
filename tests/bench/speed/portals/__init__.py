"""Portals that use little CPU, or wait before they answer."""
