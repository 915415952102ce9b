"""Sends webhooks: signed, to checked addresses only."""
