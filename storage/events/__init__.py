"""The log of a client's events: numbered in the order in which readers may see them."""
