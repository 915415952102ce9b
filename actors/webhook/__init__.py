"""Send webhooks: signed, and only to checked addresses."""
