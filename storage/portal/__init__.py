"""The portal as the rows see it: which request may begin, and what its answer means for others."""
