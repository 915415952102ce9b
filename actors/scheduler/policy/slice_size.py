"""How many documents one slice requests."""

from __future__ import annotations

import math

# A slice may have several documents while the court answers in less.
FAST_REQUEST_S = 0.025
MAX_REQUESTS = 8


def slice_size(*, expected_s: float, fresh: int, free_lanes: int) -> int:
    """Return the number of documents that the next slice of a job should request.

    One document, unless the court is fast; the fresh documents of a job are spread over its free
    lanes. The claim caps the number again: it alone knows which documents are small.

    Args:
        expected_s: seconds that a request of the court is expected to take.
        fresh: documents that were never tried and that no other proposal is expected to take.
        free_lanes: lanes that the job has left, this slice's included.
    """
    if expected_s >= FAST_REQUEST_S or fresh < 1:
        return 1
    return min(MAX_REQUESTS, math.ceil(fresh / max(1, free_lanes)))
