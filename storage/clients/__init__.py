"""Which clients there are: what each may request, and what signs its webhooks."""
