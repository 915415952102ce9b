"""Test that jobs over the budget of cases are put aside, and in which order they go on."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.hints.hints import JobEnded, JobWanted, ProposalRefused, SliceBegun
from actors.scheduler.policy.dispatcher import plan
from actors.scheduler.policy.fairness.budget_queue import BudgetClaimant, BudgetQueue
from actors.scheduler.policy.scheduler_state import BUDGET_RETRY_S, SchedulerState
from actors.scheduler.position_publisher import _outlooks, _Snapshot
from storage.estimates.forecast import Forecast
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import (
    CourtRow,
    JobRow,
    JobsReading,
    PortalReading,
    PortalRow,
    WorkerRow,
)

COURT, OTHER_COURT = "8.26", "5.02"
HOUR = 3_600.0
_ids = count(1)


def _row(client: str = "a", court: str = COURT, **values: Any) -> JobRow:
    job_id = UUID(int=next(_ids))
    priority = values.pop("priority", Priority.NORMAL)
    return JobRow(job_id, client, priority, court, str(job_id), float(job_id.int), **values)


def _state(*rows: JobRow) -> SchedulerState:
    state = SchedulerState(Limits(at_once=64, per_court=64, lanes=4))
    courts = {court: CourtRow(court, 0.1, 9) for court in (COURT, OTHER_COURT)}
    state.read_portal(PortalReading(0.0, PortalRow(64), (), courts, (WorkerRow(64),)), 0.0)
    for row in rows:
        state.receive(JobWanted(row), 0.0)
    return state


def _proposed(state: SchedulerState, now: float) -> dict[UUID, UUID]:
    """Return the proposals of a pass: their ids by job."""
    return {g.job_id: g.messages[0].proposal_id for g in plan(state, now, uuid4).groups}


def _refuse(
    state: SchedulerState,
    proposed: dict[UUID, UUID],
    now: float,
    *,
    until: float,
    scope: RefusedScope = RefusedScope.BUDGET,
) -> None:
    for job_id, proposal_id in proposed.items():
        state.receive(ProposalRefused(proposal_id, job_id, scope, until=until), now)


def _begin(state: SchedulerState, proposed: dict[UUID, UUID], now: float) -> None:
    for job_id, proposal_id in proposed.items():
        state.receive(SliceBegun(proposal_id, job_id, uuid4(), has_more=False), now)


def _go_on(state: SchedulerState, now: float) -> list[UUID]:
    """Return the jobs that go on one after the other, while each of them gets a place."""
    order: list[UUID] = []
    while proposed := _proposed(state, now):
        assert len(proposed) == 1
        order += proposed
        _begin(state, proposed, now)
    return order


def test_jobs_over_the_budget_are_not_proposed_before_its_time_and_others_are() -> None:
    over, listed = [_row() for _ in range(3)], _row(needs_listing=False, fresh=3)
    state = _state(*over, listed)
    proposed = _proposed(state, 0.0)
    assert proposed.keys() == {listed.job_id, *(row.job_id for row in over)}
    del proposed[listed.job_id]
    _refuse(state, proposed, 0.1, until=30.0)

    # A new case is tried once: it may be free.
    new = _row("b")
    state.receive(JobWanted(new), 0.2)
    assert new.job_id in _proposed(state, 0.2)
    assert not {row.job_id for row in over} & _proposed(state, 29.0).keys()
    assert over[0].job_id in _proposed(state, 30.1)


def test_a_used_up_budget_is_tried_with_one_job_a_minute() -> None:
    state = _state(*(_row() for _ in range(5)))
    _refuse(state, _proposed(state, 0.0), 0.0, until=30 * 24 * HOUR)
    tries = 0
    for second in range(1, 601):
        proposed = _proposed(state, float(second))
        assert len(proposed) <= 1
        _refuse(state, proposed, float(second), until=30 * 24 * HOUR)
        tries += len(proposed)

    assert tries == 600 / BUDGET_RETRY_S


def test_the_next_pass_is_due_when_the_budget_has_a_place() -> None:
    state = _state(_row())
    _refuse(state, _proposed(state, 0.0), 0.0, until=30.0)
    assert plan(state, 1.0, uuid4).next_at == 30.0


def test_the_budget_of_a_court_stops_that_court_only() -> None:
    here, there = _row(), _row(court=OTHER_COURT)
    state = _state(here, there)
    proposed = _proposed(state, 0.0)
    _refuse(state, proposed, 0.0, until=0.0)
    _refuse(
        state,
        {there.job_id: proposed[there.job_id]},
        0.0,
        until=HOUR,
        scope=RefusedScope.COURT_BUDGET,
    )

    assert _go_on(state, 1.0) == [here.job_id]


def test_clients_take_turns_and_high_jobs_of_a_client_go_first() -> None:
    many = [_row("a") for _ in range(4)]
    high = _row("a", priority=Priority.HIGH)
    few = [_row("b", priority=Priority.BULK), *(_row("b") for _ in range(2))]
    state = _state(*many, high, *few)
    _refuse(state, _proposed(state, 0.0), 0.0, until=10.0)

    order = _go_on(state, 10.1)

    assert order == [
        row.job_id for row in (high, few[1], many[0], few[2], many[1], many[2], many[3], few[0])
    ]


def test_clients_take_turns_also_if_each_place_is_free_at_its_own_time() -> None:
    rows = {row.job_id: row for row in (*(_row("a") for _ in range(6)), *(_row("b") for _ in "12"))}
    state = _state(*rows.values())
    _refuse(state, _proposed(state, 0.0), 0.0, until=10.0)
    clients = []
    for now in range(20, 200, 20):
        proposed = _proposed(state, float(now))
        clients += [rows[job_id].client for job_id in proposed]
        _begin(state, proposed, now + 0.1)
        _refuse(state, _proposed(state, now + 0.2), now + 0.3, until=now + 19.0)

    assert "".join(clients) == "ababaaaa"


def test_a_job_that_may_not_begin_keeps_no_other_from_its_place() -> None:
    first, second = _row(), _row()
    state = _state(first, second)
    _refuse(state, _proposed(state, 0.0), 0.0, until=10.0)
    state.receive(ProposalRefused(None, first.job_id, RefusedScope.JOB, until=HOUR), 0.0)

    assert _go_on(state, 10.1) == [second.job_id]


def test_an_admitted_job_that_ends_makes_room_for_the_next() -> None:
    first, second = _row(), _row()
    state = _state(first, second)
    _refuse(state, _proposed(state, 0.0), 0.0, until=10.0)
    assert _proposed(state, 10.1).keys() == {first.job_id}
    state.receive(JobEnded(first.job_id), 10.2)
    # Its proposal is dropped after a second.
    assert _proposed(state, 12.0).keys() == {second.job_id}


@pytest.mark.parametrize("waits", [True, False])
def test_a_new_leader_reads_which_jobs_wait(waits: bool) -> None:
    rows = tuple(_row(waits_for_budget=waits) for _ in range(3))
    state = _state()
    state.read_jobs(JobsReading(0.0, rows), 0.0)

    assert len(_proposed(state, 0.0)) == (1 if waits else 3)


def test_a_listing_of_the_case_by_another_job_ends_the_wait() -> None:
    row = _row()
    state = _state(row)
    _refuse(state, _proposed(state, 0.0), 0.0, until=HOUR)
    assert not _proposed(state, 1.0)
    state.receive(JobWanted(row), 2.0)

    assert _proposed(state, 2.0).keys() == {row.job_id}


def test_a_client_gains_no_credit_while_it_waits_for_nothing() -> None:
    queue = BudgetQueue()
    for number in range(10):
        queue.put(UUID(int=number), BudgetClaimant("a", COURT, Priority.NORMAL, number))
    for number in range(5):
        assert queue.first(lambda _court: True) == UUID(int=number)
        queue.remove(UUID(int=number))
        queue.charge("a")
    for number in range(20, 25):
        queue.put(UUID(int=number), BudgetClaimant("b", COURT, Priority.NORMAL, number))
    order = []
    while (job_id := queue.first(lambda _court: True)) is not None:
        order.append("b" if job_id.int >= 20 else "a")
        queue.remove(job_id)
        queue.charge(order[-1])

    assert "".join(order) in {"abababab" + "ab", "bababababa"}


def test_jobs_that_wait_for_the_budget_have_no_place_in_the_queue_and_take_none() -> None:
    waiting = [_row(waits_for_budget=True) for _ in range(50)]
    ordinary = _row(needs_listing=False, fresh=3, documents_left=3, total_documents=3)
    outlooks = []
    for rows in ([*waiting, ordinary], [ordinary]):
        state = _state(*rows)
        runs = list(state.runs)
        ids = [run.row.job_id for run in runs]
        snapshot = _Snapshot(0.0, ids, runs, state.queue, state.limits, {COURT: 0.1}, frozenset())
        outlooks.append(_outlooks(snapshot))

    assert outlooks[0][ordinary.job_id] == outlooks[1][ordinary.job_id]
    assert {outlooks[0][row.job_id] for row in waiting} == {Forecast(None, None)}
