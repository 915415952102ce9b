"""The clients: their tokens, limits and permitted cases, and the secrets of their webhooks."""
