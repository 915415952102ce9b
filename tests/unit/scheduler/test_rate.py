"""Test that a rate limit is reached without refusals that spin, and that passes keep their pace."""

from __future__ import annotations

import pytest

from actors.scheduler.loop import BURST_PASSES, PASS_INTERVAL_S, Pace
from storage.portal.slots import Limits
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import SchedulerSimulation, SimulatedFaults

HOPS = SimulatedFaults(hop_s=0.005)


def _run(
    per_minute: int | None,
    until: float = 1e6,
    faults: SimulatedFaults = HOPS,
    documents: int = 2_500,
) -> SchedulerSimulation:
    limits = Limits(at_once=10, per_court=10, lanes=5, per_minute=per_minute)
    simulation = SchedulerSimulation(limits, faults=faults)
    for client in "abcd":
        simulation.arrive(Arrival(0, client, "8.26", documents, request_s=(0.05,)))
    simulation.run(until)
    return simulation


def _most_in_a_minute(times: list[float]) -> int:
    times = sorted(times)
    return max(sum(begin <= at < begin + 60 for at in times) for begin in times[:: len(times) // 9])


def test_at_60_a_minute_hardly_a_claim_is_refused() -> None:
    simulation = _run(60, until=120)
    assert simulation.world.begun == pytest.approx(120, abs=2)
    assert simulation.world.refused <= 0.05 * simulation.world.begun


def test_at_60_a_minute_refusals_do_not_spin_when_hints_and_messages_are_lost() -> None:
    faults = SimulatedFaults(hop_s=0.005, hint_lost=0.3, message_lost=0.1, message_doubled=0.3)
    simulation = _run(60, until=120, faults=faults)
    # A duplicated message makes a second claim; otherwise there is at most one for each request.
    assert simulation.world.refused <= 1.5 * simulation.world.begun
    assert simulation.world.begun >= 0.7 * 120


def test_at_60_a_minute_nothing_is_passed_over_between_two_requests() -> None:
    simulation = _run(60, until=120)
    # One pass to propose, and one for each hint and reading: no pass finds nothing.
    assert simulation.passes <= 120 * 12


def test_6000_a_minute_are_reached_to_98_percent_and_never_exceeded() -> None:
    simulation = _run(6_000, until=64)
    times = [at for at in simulation.world.request_times if at < 64]
    in_last_minute = [at for at in times if at >= 4]
    assert len(in_last_minute) >= 0.98 * 6_000
    assert _most_in_a_minute(times) <= 6_001
    assert simulation.world.refused <= 0.05 * simulation.world.begun


def test_a_rate_that_is_never_reached_costs_nothing() -> None:
    # Given 200 requests a second at most, limited by the slots
    without, far_above = (_run(per_minute, documents=250) for per_minute in (None, 60_000))
    assert far_above.world.refused == without.world.refused == 0
    assert far_above.world.begun == without.world.begun
    assert far_above.passes == pytest.approx(without.passes, rel=0.01)
    ends = [max(simulation.ended_at.values()) for simulation in (without, far_above)]
    assert ends[1] == pytest.approx(ends[0], rel=0.02)


def test_a_burst_of_passes_begins_at_once() -> None:
    pace = Pace(0.0)
    assert [pace.pause_s(0.0) for _ in range(BURST_PASSES)] == [0.0] * BURST_PASSES
    assert pace.pause_s(0.0) > 0


def test_passes_under_load_keep_their_interval() -> None:
    pace, now, begun = Pace(0.0), 0.0, []
    for _ in range(BURST_PASSES + 100):
        now += pace.pause_s(now)
        begun.append(now)
    assert begun[-1] == pytest.approx(100 * PASS_INTERVAL_S)


def test_passes_that_are_rarer_than_the_interval_never_wait() -> None:
    pace = Pace(0.0)
    assert not any(pace.pause_s(n * 1.01 * PASS_INTERVAL_S) for n in range(1000))
