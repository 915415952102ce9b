"""Options of a run: the clients' jobs, and the portal's outages."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.portal_load.bench_environment import CLIENTS, COURTS
from tests.sandbox.latency_profile import Burst, Latency

MEDIAN_S, SIGMA = 0.4, 0.8
# The mean of such latencies.
MEAN_S = 0.55


@dataclass(frozen=True)
class BenchOptions:
    """The size of a run. `seconds`: how long the portal's limit is below ours."""

    jobs: int
    documents: int
    seed: int
    seconds: float

    @property
    def latency(self) -> Latency:
        """Return the portal's latencies."""
        return Latency(MEDIAN_S, SIGMA, self.seed)

    def plan(self) -> Iterator[tuple[str, str, int]]:
        """Return client, court and documents of each job. Half of the jobs are one client's."""
        dice = random.Random(self.seed)
        for i in range(self.jobs):
            client = CLIENTS[0] if i % 2 else CLIENTS[1 + i // 2 % (len(CLIENTS) - 1)]
            documents = max(1, round(self.documents * dice.uniform(0.5, 1.5)))
            yield client, COURTS[i % len(COURTS)], documents

    def bursts(self, at_once: int) -> list[Burst]:
        """Return one burst of all courts and two of one court, at times that fit the run."""
        length_s = self.jobs * self.documents * MEAN_S / at_once
        return [
            Burst(0.2 * length_s, 0.2 * length_s + 3.0),
            Burst(0.45 * length_s, 0.45 * length_s + 5.0, 503, COURTS[0]),
            Burst(0.65 * length_s, 0.65 * length_s + 2.0, 503, COURTS[3]),
        ]
