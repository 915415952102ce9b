"""`make bench-guest`: the load on the portal, by the portal's own count."""
