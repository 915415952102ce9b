"""Measure promises in seconds, so that one stall of a busy machine cannot break them."""

from __future__ import annotations

import math
from collections.abc import Callable


def quickest(measure: Callable[[], float], limit_s: float, *, tries: int = 5) -> float:
    """Return the shortest time of several tries, in seconds; stop at the first below `limit_s`.

    A stall makes one try long; code that is too slow makes all of them long. `measure` makes one
    try and must itself wait for longer than the limit.
    """
    shortest_s = math.inf
    for _ in range(tries):
        shortest_s = min(shortest_s, measure())
        if shortest_s < limit_s:
            break
    return shortest_s
