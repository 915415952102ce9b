"""Test that all jobs end, with and without faults, and that the portal's slots stay used."""

from __future__ import annotations

import pytest

from storage.portal.slots import Limits
from storage.priorities import Priority
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import NO_FAULTS, SchedulerSimulation, SimulatedFaults

ALL_FAULTS = SimulatedFaults(
    hint_lost=0.2,
    hint_doubled=0.1,
    message_lost=0.1,
    message_doubled=0.1,
    row_locked=0.05,
    request_failed=0.1,
    spooled=0.1,
    restarts=(5.0, 20.0),
    hop_s=0.02,
)


@pytest.mark.parametrize("faults", [NO_FAULTS, ALL_FAULTS], ids=["no faults", "all faults"])
def test_every_job_ends(faults: SimulatedFaults) -> None:
    simulation = SchedulerSimulation(Limits(at_once=10, per_court=6, lanes=5), faults=faults)
    for i in range(20):
        court, client = f"8.{i % 4:02}", "abc"[i % 3]
        priority = list(Priority)[i % 3]
        simulation.arrive(Arrival(i * 0.3, client, court, 30, priority, (0.5,), i % 2 == 0))
    simulation.run(until=600)
    assert len(simulation.ended_at) == 20


def test_no_slot_stays_free_without_faults() -> None:
    simulation = SchedulerSimulation(Limits(at_once=10, per_court=6, lanes=5))
    for i in range(8):
        simulation.arrive(Arrival(0, "abc"[i % 3], f"8.{i % 4:02}", 25, request_s=(0.5,)))
    simulation.run()
    # 200 documents of half a second each, ten at a time.
    assert max(simulation.ended_at.values()) == pytest.approx(10, abs=1)
    assert simulation.world.refused == 0
