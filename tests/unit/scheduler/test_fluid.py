"""Test that no job is far behind fluid generalised processor sharing with the same limits."""

from __future__ import annotations

from hypothesis import given

from storage.portal.slots import Limits
from storage.priorities import Priority
from tests.bench.fairness.fluid_lag import places_behind
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import SchedulerSimulation
from tests.simulation.workloads import FEW, Workload, workloads


@FEW
@given(workloads(documents=120))
def test_no_job_is_behind_by_more_than_twice_the_places_and_one(workload: Workload) -> None:
    simulation = workload.simulation()
    simulation.run()
    assert len(simulation.ended_at) == len(workload.arrivals)
    assert places_behind(simulation) <= 2


def test_weights_hold_behind_the_limit_of_a_court() -> None:
    # Given a court with one slot, and another court that serves the same client more
    simulation = SchedulerSimulation(Limits(at_once=3, per_court=1, lanes=3))
    jobs = [
        ("a", "8.26", "NORMAL"),
        ("a", "8.26", "HIGH"),
        ("c", "8.26", "NORMAL"),
        ("c", "8.26", "HIGH"),
        ("c", "8.19", "NORMAL"),
    ]
    for court in ("8.19", "8.26"):
        simulation.set_court(court, 0.5)
    for client, court, priority in jobs:
        arrival = Arrival(0, client, court, 300, Priority(priority), (0.5,))
        simulation.arrive(arrival)
    simulation.run()
    # Then a single virtual time, which advances with each selection, would be 50 times as far
    # behind
    assert places_behind(simulation) <= 1
