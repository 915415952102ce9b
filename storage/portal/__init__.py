"""Portal requests as rows: which may begin, and what the answer to one means for others.

The requests themselves are in actors/portal.
"""
