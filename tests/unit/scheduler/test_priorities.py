"""Test priorities: HIGH against NORMAL, BULK last, no starvation, and no job blocks others."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given

from storage.portal.slots import Limits
from storage.priorities import Priority
from tests.simulation.simulated_rows import Arrival, SimulatedJob
from tests.simulation.simulator import SchedulerSimulation, SimulatedFaults
from tests.simulation.workloads import FEW, Workload, workloads

LIMITS = Limits(at_once=5, per_court=5, lanes=5)


def _job(simulation: SchedulerSimulation, number: int) -> SimulatedJob:
    return simulation.jobs[number]


def _requests(simulation: SchedulerSimulation, job: SimulatedJob, until: float) -> int:
    return sum(at < until and job_id == job.job_id for at, job_id in simulation.began)


def test_high_gets_four_times_as_much_as_normal() -> None:
    simulation = SchedulerSimulation(LIMITS)
    simulation.arrive(Arrival(0, "a", "8.26", 400, Priority.HIGH, (0.5,)))
    simulation.arrive(Arrival(0, "a", "8.26", 400, Priority.NORMAL, (0.5,)))
    simulation.run(until=30)
    high, normal = (_requests(simulation, job, 30) for job in simulation.jobs)
    assert high == pytest.approx(4 * normal, rel=0.1)


def test_high_gets_four_times_as_much_when_the_rate_is_the_limit() -> None:
    simulation = SchedulerSimulation(Limits(at_once=10, per_court=10, lanes=5, per_minute=600))
    simulation.arrive(Arrival(0, "a", "8.26", 900, Priority.HIGH, (0.1,)))
    simulation.arrive(Arrival(0, "a", "8.26", 900, Priority.NORMAL, (0.1,)))
    simulation.run(until=60)
    high, normal = (_requests(simulation, job, 60) for job in simulation.jobs)
    assert high == pytest.approx(4 * normal, rel=0.15)


def test_clients_share_alike_however_many_jobs_they_have() -> None:
    simulation = SchedulerSimulation(LIMITS)
    for _ in range(9):
        simulation.arrive(Arrival(0, "many", "8.26", 100, request_s=(0.5,)))
    simulation.arrive(Arrival(0, "one", "8.26", 200, request_s=(0.5,)))
    simulation.run(until=30)
    one = _requests(simulation, _job(simulation, 9), 30)
    assert one == pytest.approx(len(simulation.began) / 2, rel=0.1)


@pytest.mark.parametrize("is_listed", [True, False], ids=["listed", "to be listed"])
def test_clients_share_alike_if_one_has_many_jobs_of_one_dear_document(is_listed: bool) -> None:
    simulation = SchedulerSimulation(LIMITS)
    simulation.set_court("8.26", 0.5)
    for _ in range(60):
        dear_job = Arrival(0, "dear", "8.26", 1, request_s=(2.0,), is_listed=is_listed)
        simulation.arrive(dear_job)
    simulation.arrive(Arrival(0, "cheap", "8.26", 300, request_s=(0.2,)))
    simulation.run(until=20)
    cheap = 0.2 * _requests(simulation, _job(simulation, 60), 20)
    dear = 2.0 * sum(_requests(simulation, job, 20) for job in simulation.jobs[:60])
    assert cheap == pytest.approx(dear, rel=0.3)


def test_bulk_begins_only_while_nothing_else_may() -> None:
    simulation = SchedulerSimulation(LIMITS)
    simulation.arrive(Arrival(0, "a", "8.26", 50, Priority.BULK, (0.5,)))
    simulation.arrive(Arrival(2, "b", "8.26", 50, Priority.NORMAL, (0.5,)))
    simulation.run()
    bulk, normal = simulation.jobs
    normal_began = [at for at, job_id in simulation.began if job_id == normal.job_id]
    during = [at for at, job_id in simulation.began if job_id == bulk.job_id]
    during = [at for at in during if normal_began[0] <= at < normal_began[-1]]
    assert during == []
    assert len(simulation.ended_at) == 2


def test_a_locked_job_holds_up_no_other() -> None:
    simulation = SchedulerSimulation(LIMITS, faults=SimulatedFaults(hop_s=0.001))
    simulation.arrive(Arrival(0, "a", "8.26", 20, Priority.HIGH, (0.5,)))
    for _ in range(3):
        simulation.arrive(Arrival(0, "a", "8.26", 20, request_s=(0.5,)))

    def lock() -> None:
        _job(simulation, 0).locked_until = 1e9

    simulation.at(0, lock)
    simulation.run(until=20)
    # Sixty documents of half a second each, five at a time, take six seconds.
    assert sorted(simulation.ended_at) == sorted(job.job_id for job in simulation.jobs[1:])
    assert max(simulation.ended_at.values()) < 6.5
    # Its refusals come 20 ms, 40 ms, ... and at most one second apart.
    assert simulation.world.refused < 5 * 30


@FEW
@given(workloads(documents=30))
def test_nothing_starves(workload: Workload) -> None:
    simulation = workload.simulation(
        SimulatedFaults(hop_s=0.01, row_locked=0.05, request_failed=0.05)
    )
    simulation.run(until=1_000)
    assert len(simulation.ended_at) == len(workload.arrivals)


def test_what_could_not_run_gains_no_credit() -> None:
    # Given a job that could not run for half a minute, because its row was locked
    simulation = SchedulerSimulation(LIMITS, faults=SimulatedFaults(hop_s=0.001))
    for _ in range(2):
        simulation.arrive(Arrival(0, "a", "8.26", 500, request_s=(0.5,)))

    def lock() -> None:
        _job(simulation, 0).locked_until = 30.0

    simulation.at(0, lock)
    simulation.run(until=40)
    # Then it gets the same share as the other from then on, and no more
    assert _ratio(simulation, since=31.5) == pytest.approx(1, rel=0.25)


def test_a_court_that_was_away_gains_no_credit() -> None:
    simulation = SchedulerSimulation(Limits(at_once=5, per_court=5, lanes=5))
    simulation.arrive(Arrival(0, "a", "8.26", 500, request_s=(0.5,)))
    simulation.arrive(Arrival(0, "b", "8.19", 500, request_s=(0.5,)))

    def away(until: float | None) -> None:
        court = simulation.world.courts["8.26"]
        simulation.world.courts["8.26"] = court._replace(next_probe_at=until)

    simulation.set_court("8.26", 0.5)
    simulation.set_court("8.19", 0.5)
    simulation.at(0, lambda: away(1e9))
    simulation.at(30, lambda: away(None))
    simulation.run(until=41)
    assert _ratio(simulation, since=31) == pytest.approx(1, rel=0.25)


def _ratio(simulation: SchedulerSimulation, since: float) -> float:
    def count(job_id: UUID) -> int:
        return sum(at >= since and began == job_id for at, began in simulation.began)

    return count(_job(simulation, 0).job_id) / count(_job(simulation, 1).job_id)
