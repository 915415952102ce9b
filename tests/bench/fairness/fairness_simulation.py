"""Simulate the sharing of the portal's time: a virtual clock and the real policy.

Jobs arrive, the scheduler's policy proposes the next requests, and each request takes a recorded
latency. No thread waits: a run of an hour takes seconds.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from actors.scheduler.policy.dispatcher import Plan
from actors.scheduler.policy.outlook import running_jobs
from storage.estimates.forecast import forecast
from storage.portal.slots import Limits
from tests.bench.fairness import estimate_errors
from tests.bench.fairness.estimate_errors import Estimate
from tests.bench.fairness.gps_reference import Work, alone_s, shares
from tests.bench.fairness.scenarios import Scenario
from tests.bench.traffic.slot_usage import Room
from tests.simulation.simulated_rows import Arrival, SimulatedJob
from tests.simulation.simulator import SchedulerSimulation


@dataclass(frozen=True)
class Outcome:
    """A job's duration, its duration alone on its share of the slots, and its estimate.

    The estimate is made after the first tenth; None if that was the whole job.
    """

    arrival: Arrival
    taken_s: float
    alone_s: float
    estimate: Estimate | None = None

    @property
    def ratio(self) -> float:
        """Return the ratio; 1 means that the job waited for no other job beyond its share."""
        return self.taken_s / self.alone_s


class FairnessRun:
    """One run of a scenario on recorded latencies."""

    def __init__(
        self, scenario: Scenario, room: Room, latencies_s: Sequence[float], *, seed: int = 1
    ) -> None:
        dice, usual_s = random.Random(seed), statistics.fmean(latencies_s)
        self._room = room
        self._limits = Limits(room.at_once, room.per_court, room.lanes)
        self._arrivals = [
            replace(
                arrival,
                is_listed=False,
                # The first value is the duration of the listing.
                request_s=tuple(
                    dice.choice(latencies_s) * scenario.slow.get(arrival.court, 1.0)
                    for _ in range(1 + arrival.documents)
                ),
            )
            for arrival in scenario.arrivals
        ]
        self._request_s = {
            arrival.court: usual_s * scenario.slow.get(arrival.court, 1.0)
            for arrival in scenario.arrivals
        }
        self._simulation = SchedulerSimulation(self._limits, seed=seed)
        self._estimates: dict[str, tuple[float, float | None]] = {}

    def run(self) -> list[Outcome]:
        """Return the outcome of each job, in the order of arrival."""
        simulation = self._simulation
        for court, request_s in self._request_s.items():
            simulation.set_court(court, request_s)
        for number, arrival in enumerate(self._arrivals):
            simulation.arrive(arrival, case=str(number))
        simulation.on_pass = self._record_estimates
        simulation.run()
        return self._outcomes(sorted(simulation.jobs, key=lambda job: int(job.case)))

    def _record_estimates(self, _plan: Plan) -> None:
        """Record the estimates of the jobs that have passed their first tenth."""
        simulation = self._simulation
        due = [job for job in simulation.world.jobs.values() if self._is_to_be_estimated(job)]
        if not due:
            return
        state = simulation.state
        jobs = list(running_jobs(state.runs, state.queue))
        outlooks = forecast(jobs, self._limits, self._request_s)
        for job in due:
            if job.job_id in outlooks:
                self._estimates[job.case] = simulation.now, outlooks[job.job_id].seconds_left

    def _is_to_be_estimated(self, job: SimulatedJob) -> bool:
        documents = job.arrival.documents
        left = len(job.fresh) + sum(map(len, job.slices.values()))
        is_over = estimate_errors.first_tenth(documents) <= documents - left < documents
        return job.case not in self._estimates and job.is_listed and is_over

    def _outcomes(self, jobs: Sequence[SimulatedJob]) -> list[Outcome]:
        usual = [_work(job, self._request_s[job.arrival.court]) for job in jobs]
        comings_s = [job.arrival.at_s for job in jobs]
        ends_s = [self._simulation.ended_at[job.job_id] for job in jobs]
        return [
            # A job with fast requests waits for its slots as long as others of its court.
            Outcome(
                job.arrival,
                end_s - job.arrival.at_s,
                max(alone_s(work, share), alone_s(_work(job), share)),
                self._estimate(job, end_s, comings_s),
            )
            for job, end_s, work, share in zip(
                jobs, ends_s, usual, shares(usual, self._room), strict=True
            )
        ]

    def _estimate(
        self, job: SimulatedJob, end_s: float, comings_s: Iterable[float]
    ) -> Estimate | None:
        if job.case not in self._estimates:
            return None
        at_s, left_s = self._estimates[job.case]
        came_later = sum(at_s < coming_s < end_s for coming_s in comings_s)
        whole_s = end_s - job.arrival.at_s
        return Estimate(job.arrival.documents, left_s, end_s - at_s, whole_s, came_later)


def _work(job: SimulatedJob, request_s: float | None = None) -> Work:
    """Return the portal's work for a job if each request takes `request_s` seconds."""
    arrival = job.arrival
    times = arrival.request_s if request_s is None else (request_s,) * (1 + arrival.documents)
    priority = arrival.priority.value
    return Work(arrival.at_s, arrival.client, arrival.court, priority, times[0], times[1:])
