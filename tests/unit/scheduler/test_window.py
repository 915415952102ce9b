"""Test that proposals never exceed the free capacity and respect delays after refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from actors.hints.hints import PROPOSAL_AGE_S, Hint, JobWanted, ProposalRefused, SliceBegun
from actors.scheduler.policy.backoff import FIRST_DELAY_S, MAX_DELAY_S, Backoff, is_of_job
from actors.scheduler.policy.dispatcher import Plan
from actors.scheduler.policy.reach import Reach
from actors.scheduler.policy.window import Proposal, Window
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.scheduling.row_values import PortalRow
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import SchedulerSimulation, SimulatedFaults
from tests.simulation.workloads import FEW, Workload, workloads

FAULTS = SimulatedFaults(
    hint_lost=0.2,
    hint_doubled=0.1,
    message_lost=0.1,
    message_doubled=0.2,
    row_locked=0.2,
    request_failed=0.1,
    spooled=0.1,
    restarts=(4.0,),
    hop_s=0.02,
)


@FEW
@given(workloads(documents=25, is_listed=False), st.integers(1, 12))
def test_no_more_is_outstanding_than_may_begin(workload: Workload, threads: int) -> None:
    simulation = workload.simulation(FAULTS, threads=threads)
    limits = workload.limits
    proposed: list[int] = []

    def check(plan: Plan) -> None:
        if not plan.groups:
            return
        state = simulation.state
        proposed.append(len(state.window))
        assert len(state.window) + len(state.slots) <= limits.at_once
        assert len(state.window) + state.runs.unrecorded <= threads
        for court in workload.request_s:
            assert state.window.of_court(court) + state.slots.of_court(court) <= limits.per_court
        for group in plan.groups:
            run = state.runs.get(group.job_id)
            assert run is not None
            lanes = 1 if run.row.needs_listing else limits.lanes
            assert len(state.window.of_job(group.job_id)) + len(run.slices) <= lanes
            assert run.row.needs_listing or run.lanes_taken < limits.lanes

    simulation.on_pass = check
    simulation.run(until=600)
    assert proposed
    assert len(simulation.ended_at) == len(workload.arrivals)


class _Refusals:
    """The latest refusals, the earliest time of the next proposal, and the slots in use then."""

    def __init__(self, simulation: SchedulerSimulation) -> None:
        self._simulation = simulation
        self._not_before: dict[Hashable, float] = {}
        self._refused_at: dict[Hashable, float] = {}
        self._sent_at: dict[UUID, float] = {}
        # Scopes with slots keep those that they had.
        self._most: dict[Hashable, int] = {}
        self.refused: Counter[RefusedScope] = Counter()

    def note(self, hint: Hint) -> None:
        now = self._simulation.now
        if isinstance(hint, JobWanted):
            self._not_before.pop((RefusedScope.CASE, hint.job.case), None)
        if isinstance(hint, SliceBegun):
            self._simulation.on_pass = self.check
            # A job that was refused again and again, and begins, ends the blocks of others like it.
            for key in [key for key in self._not_before if is_of_job(key)]:
                del self._not_before[key]
        run = (
            self._simulation.state.runs.get(hint.job_id)
            if isinstance(hint, ProposalRefused)
            else None
        )
        if isinstance(hint, ProposalRefused) and run and not hint.is_empty:
            self.refused[hint.scope] += 1
            until = now + FIRST_DELAY_S if hint.until is None else hint.until
            scope = self._scope(hint.scope, run.row.job_id)
            in_use = self._in_use(hint.scope, run.row.job_id)
            is_outstanding = any(
                each.proposal_id == hint.proposal_id
                for each in self._simulation.state.window.of_job(hint.job_id)
            )
            most = in_use - is_outstanding
            is_blocked = self._not_before.get(scope, 0.0) > now
            self._most[scope] = min(most, self._most[scope]) if is_blocked else most
            # A refusal of a proposal that is older than the last refusal lengthens no delay.
            sent_at = self._sent_at.get(hint.proposal_id, now) if hint.proposal_id else now
            if sent_at >= self._refused_at.get(scope, 0.0) or hint.until is not None:
                self._not_before[scope] = until
            self._refused_at[scope] = now

    def check(self, plan: Plan) -> None:
        for group in plan.groups:
            now = self._simulation.now
            self._sent_at |= {message.proposal_id: now for message in group.messages}
            for scope in RefusedScope:
                key = self._scope(scope, group.job_id)
                if self._not_before.get(key, 0.0) <= now:
                    continue
                if scope is RefusedScope.CASE:
                    assert not group.messages[0].is_listing
                else:
                    assert self._in_use(scope, group.job_id) <= self._most[key]

    def forget(self) -> None:
        self._not_before.clear()

    def _in_use(self, scope: RefusedScope, job_id: UUID) -> int:
        state = self._simulation.state
        run = state.runs.get(job_id)
        assert run is not None
        court = run.row.court
        match scope:
            case RefusedScope.PORTAL:
                return len(state.slots) + len(state.window)
            case RefusedScope.COURT:
                return state.slots.of_court(court) + state.window.of_court(court)
        return run.lanes_taken + len(state.window.of_job(job_id))

    def _scope(self, scope: RefusedScope, job_id: UUID) -> Hashable:
        run = self._simulation.state.runs.get(job_id)
        assert run is not None
        keys = {
            RefusedScope.JOB: job_id,
            RefusedScope.CASE: run.row.case,
            RefusedScope.COURT: run.row.court,
        }
        return (scope, keys.get(scope))


@FEW
@given(workloads(documents=25, is_listed=False))
def test_nothing_of_a_refused_scope_is_proposed_before_its_time(workload: Workload) -> None:
    simulation = workload.simulation(FAULTS)
    refusals = _Refusals(simulation)
    simulation.on_hint, simulation.on_pass = refusals.note, refusals.check
    # A new leader has no record of earlier refusals.
    simulation.at(4.0, refusals.forget)
    # Slots that the scheduler cannot see: the real limits are lower than those it reads.
    simulation.world.hidden_slots = 1
    simulation.run(until=120)
    # Without refusals the table has no rows.
    assume(refusals.refused)


@pytest.mark.parametrize("scope", [RefusedScope.PORTAL, RefusedScope.COURT])
def test_slots_of_others_cost_one_claim_a_second(scope: RefusedScope) -> None:
    # Given slots that the scheduler cannot see, and one that the first job keeps
    simulation = SchedulerSimulation(Limits(at_once=20, per_court=20, lanes=20))
    simulation.arrive(Arrival(0, "a", "8.26", 1, request_s=(1_000.0,)))
    if scope is RefusedScope.PORTAL:
        simulation.world.hidden_slots = 20
    else:
        simulation.world.limits = replace(simulation.world.limits, per_court=1)
    for _ in range(20):
        simulation.arrive(Arrival(1, "a", "8.26", 20, request_s=(0.5,)))
    refused: list[int] = []
    for at in (10, 70):
        simulation.at(at, lambda: refused.append(simulation.world.refused))
    simulation.run(until=71)
    # Then no pass proposes as many as there seem to be free
    before, after = refused
    assert 0 < after - before <= 60
    assert len(simulation.began) == 1


def test_the_delay_doubles_from_20_ms_to_a_second() -> None:
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(8):
        until = backoff.refuse("job", now, until=None, proposed_at=now)
        delays.append(round(until - now, 3))
        assert backoff.blocked_until("job", now) == until
        now = until
        assert backoff.blocked_until("job", now) is None
    assert delays == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, MAX_DELAY_S, MAX_DELAY_S]
    backoff.accept("job", now)
    assert backoff.refuse("job", now, until=None, proposed_at=now) == now + FIRST_DELAY_S


def test_refusals_of_one_burst_double_nothing() -> None:
    backoff = Backoff()
    first = backoff.refuse("court", 1.0, until=None, proposed_at=0.9)
    assert backoff.refuse("court", 1.001, until=None, proposed_at=0.9) == first


def test_a_refusal_with_a_time_blocks_until_then() -> None:
    backoff = Backoff()
    backoff.refuse("portal", 1.0, until=60.0, proposed_at=1.0)
    backoff.refuse("portal", 2.0, until=None, proposed_at=2.0)
    assert backoff.blocked_until("portal", 59.9) == 60.0
    assert backoff.next_end(2.0) == 60.0
    backoff.lift("portal")
    assert backoff.blocked_until("portal", 3.0) is None


def _proposal(number: int, sent_at: float, requests: int = 1) -> Proposal:
    return Proposal(
        proposal_id=UUID(int=number),
        job_id=UUID(int=7),
        court="8.26",
        is_listing=False,
        requests=requests,
        sent_at=sent_at,
        charge_s=0.5,
    )


def test_a_proposal_is_answered_once_and_dropped_after_a_second() -> None:
    window = Window()
    window.add(_proposal(1, sent_at=0.0))
    window.add(_proposal(2, sent_at=0.5))
    assert window.take(UUID(int=2)) is not None
    assert window.take(UUID(int=2)) is None
    assert window.next_expiry() == PROPOSAL_AGE_S
    assert window.expired(0.999) == []
    assert window.expired(1.0) == [UUID(int=1)]


def test_the_rate_counts_what_is_outstanding() -> None:
    window, portal = Window(), PortalRow(10, request_interval_s=0.1, next_request_at=0.0)
    assert window.free_requests(portal, 5.0) == 11
    window.add(_proposal(1, sent_at=5.0, requests=3))
    # The next one begins in 0.3 seconds: the claim would refuse it.
    assert window.free_requests(portal, 5.0) == 0
    assert window.free_requests(portal, window.rate_opens_at(portal, 5.0)) == 0
    window.take(UUID(int=1))
    assert window.free_requests(portal._replace(next_request_at=5.15), 5.0) == 9


def test_workers_that_answer_no_proposal_for_long_are_out_of_reach() -> None:
    reach = Reach()
    found = []
    # A few proposals that expire together, or at long intervals with answers between, show nothing.
    for now in (1.0, 1.0, 1.5):
        reach.expired(now)
    found.append(reach.has_workers)
    reach.answered()
    reach.expired(9.0)
    found.append(reach.has_workers)
    # Those that expire again and again without an answer do.
    for now in (10.0, 11.0, 12.0):
        reach.expired(now)
    found.append(reach.has_workers)
    reach.answered()
    found.append(reach.has_workers)
    assert found == [True, True, False, True]
