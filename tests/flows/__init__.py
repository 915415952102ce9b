"""Which files of the product run in the three main flows, counted on real servers."""
