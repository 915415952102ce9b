"""Model the distribution of real latencies, and the optimum for a number of lanes. Pure."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LogNormalLatency:
    """Log-normal latencies, the same for the same document and seed. Sigma 0: all the same."""

    median_s: float
    sigma: float
    seed: int

    def of(self, number: str, position: int) -> float:
        """Return the portal's latency for a document of a case, in seconds."""
        dice = random.Random(f"{self.seed}/{number}/{position}")
        return self.median_s * math.exp(dice.gauss(0, self.sigma))


def in_order_s(latencies: Iterable[float], lanes: int) -> float:
    """Return the seconds for all when each lane takes the next document as soon as it is free.

    This is the optimum for lanes that learn a document's latency only by downloading it.
    """
    free_at = [0.0] * lanes
    for latency in latencies:
        heapq.heapreplace(free_at, free_at[0] + latency)
    return max(free_at)


def longest_first_s(latencies: Iterable[float], lanes: int) -> float:
    """Return the same for lanes that know all latencies and begin with the longest."""
    return in_order_s(sorted(latencies, reverse=True), lanes)


def in_batches_s(latencies: Iterable[float], size: int) -> float:
    """Return the same if `size` documents begin together, and the next once all have ended."""
    ordered = list(latencies)
    return sum(max(ordered[i : i + size]) for i in range(0, len(ordered), size))
