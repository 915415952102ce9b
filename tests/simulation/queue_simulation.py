"""Simulate the portal's queue request by request, as the reference for forecasts.

It applies the rule of the queue with random latencies, without servers, on its own clock.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from storage.estimates.forecast import RunningJob
from storage.portal.slots import Limits


@dataclass(slots=True)
class SimulatedJob:
    """A job with its documents as numbers, and its progress."""

    job_id: UUID
    client: str
    court: str
    documents: int
    weight: float = 1.0
    is_bulk: bool = False
    arrives_s: float = 0.0
    turn_pass: float = 0.0
    begun: int = 0
    done: int = 0
    ended_s: float = math.nan


@dataclass
class QueueSimulation:
    """Runs `jobs` to their ends. Latencies are log-normal about the mean of each court."""

    jobs: Sequence[SimulatedJob]
    limits: Limits
    mean_s: Mapping[str, float]
    sigma: float
    seed: int
    now: float = 0.0
    client_passes: dict[tuple[str, bool], float] = field(default_factory=dict)
    running: dict[int, SimulatedJob] = field(default_factory=dict)
    _busy: Counter[str] = field(default_factory=Counter)
    _under_way: list[tuple[float, int]] = field(default_factory=list)

    def run(self) -> Iterator[SimulatedJob]:
        """Yield a job whenever one of its documents is done, in the order of time."""
        dice = random.Random(self.seed)
        arrivals = sorted((job.arrives_s, i) for i, job in enumerate(self.jobs))[::-1]
        while arrivals or self._under_way:
            while arrivals and (not self._under_way or arrivals[-1][0] <= self._under_way[0][0]):
                self.now, index = arrivals.pop()
                self._admit(index)
                self._begin(dice)
            if self._under_way:
                self.now, index = heapq.heappop(self._under_way)
                yield self._finish(index)
                self._begin(dice)

    def snapshot(self) -> list[RunningJob]:
        """Return the running jobs in the form of a forecast's input."""
        return [
            RunningJob(
                job_id=job.job_id,
                client=job.client,
                court=job.court,
                is_bulk=job.is_bulk,
                weight=job.weight,
                virtual_time=job.turn_pass,
                documents_left=job.documents - job.done,
                requests_under_way=job.begun - job.done,
            )
            for job in self.running.values()
        ]

    def _admit(self, index: int) -> None:
        job = self.jobs[index]
        others = [j for j in self.running.values() if j.is_bulk == job.is_bulk]
        mine = [j.turn_pass for j in others if j.client == job.client]
        job.turn_pass = min(mine, default=0.0)
        at = min((self.client_passes[j.client, j.is_bulk] for j in others), default=0.0)
        key = (job.client, job.is_bulk)
        self.client_passes[key] = max(at, self.client_passes.get(key, 0.0))
        self.running[index] = job

    def _begin(self, dice: random.Random) -> None:
        while len(self._under_way) < self.limits.at_once:
            ready = [
                (j.is_bulk, self.client_passes[j.client, j.is_bulk], j.turn_pass, index)
                for index, j in self.running.items()
                if j.begun < j.documents
                and j.begun - j.done < self.limits.lanes
                and self._busy[j.court] < self.limits.per_court
            ]
            if not ready:
                return
            index = min(ready)[-1]
            job = self.jobs[index]
            mean = self.mean_s[job.court]
            job.begun += 1
            self._busy[job.court] += 1
            job.turn_pass += mean / job.weight
            self.client_passes[job.client, job.is_bulk] += mean
            taken = dice.lognormvariate(math.log(mean) - self.sigma**2 / 2, self.sigma)
            heapq.heappush(self._under_way, (self.now + taken, index))

    def _finish(self, index: int) -> SimulatedJob:
        job = self.jobs[index]
        job.done += 1
        self._busy[job.court] -= 1
        if job.done == job.documents:
            job.ended_s = self.now
            del self.running[index]
        return job
