"""Measure how far each job of a simulation was behind the fluid ideal with the same limits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from tests.bench.fairness.gps_reference import Work, moments
from tests.bench.traffic.slot_usage import Room
from tests.simulation.simulated_rows import SimulatedJob
from tests.simulation.simulator import SchedulerSimulation

# Points of (time, slot-seconds used until then); between two, use grows evenly.
Curve = Sequence[tuple[float, float]]


def places_behind(simulation: SchedulerSimulation) -> float:
    """Return the largest lag of a job, in units of the longest request times (slots + 1)."""
    limits = simulation.world.limits
    works = [_work(job) for job in simulation.jobs]
    ideal = _ideal(works, Room(limits.at_once, limits.per_court, limits.lanes))
    dearest_s = max(max(work.documents_s) for work in works)
    behind_s = 0.0
    for job, curve in zip(simulation.jobs, ideal, strict=True):
        had = _had(simulation, job)
        times = [at for at, _ in had] + [at for at, _ in curve]
        behind_s = max(behind_s, *(_at(curve, time) - _at(had, time) for time in times))
    return behind_s / dearest_s / (limits.at_once + 1)


def _work(job: SimulatedJob) -> Work:
    arrival = job.arrival
    times = arrival.request_s
    documents_s = tuple(times[i % len(times)] for i in range(arrival.documents))
    at_s, priority = arrival.at_s, arrival.priority.value
    return Work(at_s, arrival.client, arrival.court, priority, 0.0, documents_s)


def _ideal(works: Sequence[Work], room: Room) -> list[Curve]:
    whole = [sum(work.documents_s) for work in works]
    steps = list(moments(works, room))
    return [[(step.at_s, whole[i] - step.left[i][1]) for step in steps] for i in range(len(works))]


def _had(simulation: SchedulerSimulation, job: SimulatedJob) -> Curve:
    curve, had_s, before, slots = [(0.0, 0.0)], 0.0, 0.0, 0
    for at, count in simulation.held[job.job_id]:
        had_s += slots * (at - before)
        before, slots = at, count
        curve.append((at, had_s))
    return curve


def _at(curve: Curve, time: float) -> float:
    after = bisect_right(curve, time, key=lambda point: point[0])
    if after == len(curve):
        return curve[-1][1]
    (begin, had), (end, then) = curve[after - 1], curve[after]
    return had + (then - had) * (time - begin) / (end - begin)
