"""Watched cases: each is listed again at an interval, and the listing is compared with the last."""
