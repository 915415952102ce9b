"""Portals that cost next to nothing, or wait before they answer."""
