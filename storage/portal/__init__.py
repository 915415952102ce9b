"""Portal requests as rows: which may begin, and what the answer to one means for others."""
