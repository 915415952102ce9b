"""How many documents one slice requests."""

from __future__ import annotations

import math

# The requests of a slice take at most this long together: documents that have not begun 0.25 s
# after the claim are given back.
SLICE_S = 0.2
# A slice with a shorter total time costs more than another lane gains: if threads and slots are
# free, and while jobs wait for them.
LEAST_SLICE_S = 0.025
LEAST_CONTENDED_SLICE_S = 0.1
MAX_REQUESTS = 8


def slice_size(
    *, expected_s: float, fresh: int, free_lanes: int, slots: float | None = None
) -> int:
    """Return the number of documents that the next slice of a job should request.

    The fresh documents of a job are spread over its free lanes, but over no more lanes than the job
    has slots for: while jobs wait for slots, fewer and longer slices cost less. No slice is longer
    than SLICE_S, so a slow court gets slices of one document. The claim limits the number again,
    because only the claim reads which documents are small.

    Args:
        expected_s: seconds that a request of the court is expected to take.
        fresh: documents without an attempt that no other proposal is expected to take.
        free_lanes: lanes that the job has left, including this slice's.
        slots: slots in the job's share of the portal; None if unknown.
    """
    most = min(MAX_REQUESTS, math.floor(SLICE_S / expected_s))
    if most <= 1 or fresh < 1:
        return 1
    lanes = free_lanes if slots is None else min(free_lanes, max(1, math.floor(slots)))
    least_s = LEAST_SLICE_S if lanes == free_lanes else LEAST_CONTENDED_SLICE_S
    least = min(fresh, math.floor(least_s / expected_s))
    return min(most, max(least, math.ceil(fresh / max(1, lanes))))
