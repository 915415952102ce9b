"""Webhooks as rows, and the turns of clients at sending. The sender is in actors/webhook."""
