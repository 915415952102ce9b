"""The condition of the portal: a real distribution of latencies, and bursts of outages."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.sandbox.replies import Reply, as_html


@dataclass(frozen=True)
class Latency:
    """Log-normal latencies: the same sequence for the same seed.

    `scales` makes courts (J.TR) slower or faster by a factor, without a change of the sequence.
    """

    median_s: float
    sigma: float = 0.0
    seed: int = 0
    scales: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Burst:
    """An outage between two moments, in seconds since it was planned; of one court, or of all.

    `status` None: no answer at all, and the connection is closed when the burst is over.
    """

    begin_s: float
    end_s: float
    status: int | None = 503
    court: str | None = None

    def reply(self) -> Reply:
        """Return the page that replaces every answer."""
        assert self.status
        return as_html(self.status, f"<html><body><h1>{self.status}</h1></body></html>")


class LatencyProfile:
    """The latencies and bursts, which may be changed while the portal serves. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.latency(None)
        self._bursts: Sequence[Burst] = ()
        self._planned = 0.0

    def latency(self, latency: Latency | None) -> None:
        """From now on draw latencies from this distribution, from the start of its sequence."""
        with self._lock:
            self._latency = latency
            self._dice = random.Random(latency.seed if latency else 0)

    def draw_s(self, court: str) -> float:
        """Draw the latency of the next request, in seconds."""
        with self._lock:
            if self._latency is None:
                return 0.0
            drawn = self._latency.median_s * math.exp(self._dice.gauss(0, self._latency.sigma))
            return drawn * self._latency.scales.get(court, 1.0)

    def plan(self, bursts: Sequence[Burst]) -> float:
        """Replace all bursts by these, counted from now; return now in seconds since 1970."""
        with self._lock:
            self._bursts = tuple(bursts)
            self._planned = time.time()
            return self._planned

    def burst(self, court: str) -> tuple[Burst, float] | None:
        """Return the current burst for a request of `court`, and its remaining seconds."""
        with self._lock:
            now_s = time.time() - self._planned
            for burst in self._bursts:
                if burst.court in {None, court} and burst.begin_s <= now_s < burst.end_s:
                    return burst, burst.end_s - now_s
        return None
