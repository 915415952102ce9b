"""Test that claims which are refused again and again stay rare, and cost no request."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import pytest

from actors.hints.hints import JobEnded
from actors.scheduler.policy.backoff import FIRST_DELAY_S, MAX_DELAY_S, Backoff
from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import SchedulerSimulation, SimulatedFaults

REQUEST_S = 0.5
JOBS = 20
MINUTE_S = 60.0


def _run(simulation: SchedulerSimulation, *, documents: int) -> tuple[int, int]:
    """Return the claims that began and that were refused in the second minute."""
    for _ in range(JOBS):
        simulation.arrive(Arrival(0, "a", "8.26", documents, request_s=(REQUEST_S,)))
    counts: list[tuple[int, int]] = []

    def count() -> None:
        counts.append((simulation.world.begun, simulation.world.refused))

    simulation.at(MINUTE_S, count)
    simulation.at(2 * MINUTE_S, count)
    simulation.run(until=2 * MINUTE_S + 1)
    before, after = counts
    return after[0] - before[0], after[1] - before[1]


@pytest.mark.parametrize("hop_s", [0.0, 0.02])
@pytest.mark.parametrize("scope", [RefusedScope.PORTAL, RefusedScope.COURT])
def test_lower_limits_of_workers_cost_a_claim_a_second_and_no_request(
    scope: RefusedScope, hop_s: float
) -> None:
    # Given workers with a limit of 6, and a scheduler with one of 40
    faults = SimulatedFaults(hop_s=hop_s)
    simulation = SchedulerSimulation(Limits(at_once=40, per_court=40, lanes=5), faults=faults)
    limits = simulation.world.limits
    if scope is RefusedScope.PORTAL:
        simulation.world.hidden_slots = limits.at_once - 6
    else:
        simulation.world.limits = replace(limits, per_court=6)
    begun, refused = _run(simulation, documents=200)
    assert 0 < refused <= MINUTE_S
    # The slots are as busy as messages allow: two hops between two requests.
    assert begun >= 0.95 * 6 * MINUTE_S / (REQUEST_S + 2 * hop_s)


def test_fewer_lanes_of_workers_cost_a_claim_a_second_and_no_request() -> None:
    simulation = SchedulerSimulation(Limits(at_once=100, per_court=100, lanes=5), threads=200)
    simulation.world.limits = replace(simulation.world.limits, lanes=2)
    begun, refused = _run(simulation, documents=1_000)
    assert 0 < refused <= MINUTE_S
    assert begun >= 0.95 * 2 * JOBS * MINUTE_S / REQUEST_S


def test_higher_limits_of_workers_are_used_at_once() -> None:
    simulation = SchedulerSimulation(Limits(at_once=40, per_court=40, lanes=5))
    simulation.world.hidden_slots = 34
    simulation.at(1.5 * MINUTE_S, lambda: setattr(simulation.world, "hidden_slots", 0))
    begun, _ = _run(simulation, documents=1_000)
    # The next claim shows it.
    assert begun >= 6 * 30 / REQUEST_S + 0.95 * 40 * 28 / REQUEST_S


def test_locked_jobs_take_turns_and_all_go_on_when_one_does() -> None:
    # Given jobs with rows that another session holds for more than two minutes
    simulation = SchedulerSimulation(Limits(at_once=100, per_court=100, lanes=5))
    unlocked_at = 2 * MINUTE_S + 1

    def lock() -> None:
        for job in simulation.jobs:
            job.locked_until = unlocked_at

    simulation.at(0, lambda: simulation.at(0, lock))
    begun, refused = _run(simulation, documents=5)
    assert begun == 0
    assert 0 < refused <= MINUTE_S
    # Then the first that goes on ends the turns of the others
    simulation.run(until=unlocked_at + 2)
    assert len({job_id for _, job_id in simulation.began}) == JOBS


def _wait_for_turn(backoff: Backoff, job: int, now: float) -> float:
    """Refuse a job until its delay is the longest one. Return the time of its turn."""
    scope = (RefusedScope.JOB, UUID(int=job))
    until = now
    for _ in range(math.ceil(math.log2(MAX_DELAY_S / FIRST_DELAY_S)) + 1):
        now = until
        until = backoff.refuse(scope, now, until=None, proposed_at=now - 0.01, in_use=2)
    return until


def test_jobs_that_ended_take_no_turns() -> None:
    # Given a scheduler with more lanes than its workers, and more short jobs than turns
    state = SchedulerState(Limits(at_once=100, per_court=100, lanes=5))
    for job in range(500):
        now = 0.2 * job
        _wait_for_turn(state.backoff, job, now)
        if job >= 10:
            state.receive(JobEnded(UUID(int=job - 10)), now)
    # Then the next job waits for the turns of the jobs that run
    assert _wait_for_turn(state.backoff, 500, 100.0) <= 100 + (11 + 3) * MAX_DELAY_S


def test_a_job_keeps_its_turn_and_a_free_turn_is_taken() -> None:
    backoff = Backoff()
    turns = [_wait_for_turn(backoff, job, 0) for job in range(10)]
    scopes = [(RefusedScope.JOB, UUID(int=job)) for job in range(10)]
    assert [b - a for a, b in pairwise(turns)] == pytest.approx([MAX_DELAY_S] * 9)
    # Another of its proposals is refused while it waits
    backoff.refuse(scopes[4], 2.5, until=None, proposed_at=2.4, in_use=0)
    assert backoff.ends_at(scopes[4], 2.5) == turns[4]
    # The turn of a job that goes on is free
    backoff.lift(scopes[6])
    assert _wait_for_turn(backoff, 10, 2.5) == pytest.approx(turns[6])
