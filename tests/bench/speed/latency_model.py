"""Latencies as real ones are spread, and the best that lanes can make of them. Pure."""

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
        """Seconds that the portal takes for a document of a case."""
        dice = random.Random(f"{self.seed}/{number}/{position}")
        return self.median_s * math.exp(dice.gauss(0, self.sigma))


def in_order_s(latencies: Iterable[float], lanes: int) -> float:
    """Seconds for all, when each lane takes the next as soon as it is free.

    This is the best that lanes can do who learn how long a document takes by fetching it.
    """
    free_at = [0.0] * lanes
    for latency in latencies:
        heapq.heapreplace(free_at, free_at[0] + latency)
    return max(free_at)


def longest_first_s(latencies: Iterable[float], lanes: int) -> float:
    """The same by lanes that know all latencies before and begin with the longest."""
    return in_order_s(sorted(latencies, reverse=True), lanes)


def in_batches_s(latencies: Iterable[float], size: int) -> float:
    """The same when so many begin at once, and the next ones when all of them are done."""
    ordered = list(latencies)
    return sum(max(ordered[i : i + size]) for i in range(0, len(ordered), size))
