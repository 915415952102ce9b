"""Servers that receive webhooks and traces."""
