"""Webhooks as rows."""
