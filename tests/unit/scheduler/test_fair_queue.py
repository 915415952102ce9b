"""Test the fair queue alone: what is next, what is charged, and what is forfeited."""

from __future__ import annotations

from uuid import UUID

import pytest

from actors.scheduler.policy.fairness.fair_queue import FairQueue
from actors.scheduler.policy.fairness.flows import Claimant, FlowGate

A, B, C = (UUID(int=number) for number in range(1, 4))
COURT, OTHER_COURT = FlowGate("8.26", is_listing=False), FlowGate("8.19", is_listing=False)


def _claimant(
    client: str = "a", *, weight: float = 1, is_bulk: bool = False, gate: FlowGate = COURT
) -> Claimant:
    return Claimant(client, weight, is_bulk, gate, cap=5, may_begin=True)


def _queue(**claimants: Claimant) -> FairQueue:
    queue = FairQueue()
    for name, claimant in claimants.items():
        queue.put({"A": A, "B": B, "C": C}[name], claimant)
    _refresh(queue, 0.0)
    return queue


def _refresh(queue: FairQueue, now: float, *closed_courts: str) -> None:
    queue.refresh(now, at_once=2, per_court=2, closed_courts=closed_courts, dearest_s=1.0)


def _served(queue: FairQueue, times: int, gates: set[FlowGate]) -> list[UUID]:
    served = []
    for _ in range(times):
        job_id = queue.first(gates)
        assert job_id is not None
        queue.begin(job_id, 1.0)
        served.append(job_id)
    return served


def test_a_job_of_four_times_the_weight_is_next_four_times_of_five() -> None:
    queue = _queue(A=_claimant(weight=4), B=_claimant())
    served = _served(queue, 50, {COURT})
    assert served.count(A) == pytest.approx(40, abs=1)


def test_bulk_is_next_only_when_no_other_gate_is_open() -> None:
    queue = _queue(A=_claimant(is_bulk=True), B=_claimant(gate=OTHER_COURT))
    assert _served(queue, 3, {COURT, OTHER_COURT}) == [B, B, B]
    assert queue.first({COURT}) == A
    assert queue.first(set()) is None


def test_what_a_job_is_behind_beyond_the_allowance_is_lost_to_the_others() -> None:
    # Given two clients, one served alone for long, because the other's gate is closed
    queue = _queue(A=_claimant("a"), B=_claimant("b", gate=OTHER_COURT))
    _served(queue, 100, {OTHER_COURT})
    assert queue.behind_s(A) == pytest.approx(50)
    # When the other is served again, it is behind by one slice for each of two slots, plus one
    queue.begin(A, 0.0)
    assert queue.behind_s(A) == pytest.approx(3)
    _refresh(queue, 1.0)
    served = _served(queue, 20, {COURT, OTHER_COURT})
    assert served.count(A) <= 10 + 3


def test_a_job_of_a_closed_court_falls_behind_nothing() -> None:
    queue = _queue(A=_claimant("a"), B=_claimant("b", gate=OTHER_COURT))
    _refresh(queue, 1.0, COURT.court)
    _served(queue, 100, {OTHER_COURT})
    assert queue.behind_s(A) == pytest.approx(0)
    assert queue.behind_s(B) == pytest.approx(0)


def test_a_charge_that_is_returned_leaves_everything_as_it_was() -> None:
    queue = _queue(A=_claimant("a"), B=_claimant("b"))
    queue.begin(A, 7.0)
    assert queue.first({COURT}) == B
    queue.charge(A, -7.0)
    assert [queue.behind_s(job_id) for job_id in (A, B)] == [0.0, 0.0]


def test_a_suspended_job_keeps_its_debt_and_not_its_credit() -> None:
    queue = _queue(A=_claimant("a"), B=_claimant("b"))
    queue.begin(A, 4.0)
    assert (queue.behind_s(A), queue.behind_s(B)) == (-2.0, 2.0)
    queue.suspend(A)
    assert queue.behind_s(A) == -2.0
    queue.put(A, _claimant("a"))
    queue.suspend(B)
    queue.put(B, _claimant("b"))
    assert queue.behind_s(A) == pytest.approx(0)
    assert queue.behind_s(B) == pytest.approx(0)


def test_a_job_that_has_all_the_slots_it_can_use_is_behind_nothing() -> None:
    # Given two jobs that can use one slot each and are entitled to one each
    one = _claimant("a")._replace(cap=1)
    queue = _queue(A=one, B=_claimant("b", gate=OTHER_COURT)._replace(cap=1))
    # When a request of one takes long, the other earns no credit for slots it could not use
    queue.charge(B, 6.0)
    assert queue.behind_s(A) == pytest.approx(3)
    queue.put(A, one._replace(may_begin=False))
    assert queue.behind_s(A) == pytest.approx(0)


def test_a_job_that_is_due_less_than_it_can_use_catches_up() -> None:
    queue = _queue(A=_claimant("a"), B=_claimant("b"))
    queue.begin(B, 4.0)
    queue.put(A, _claimant("a")._replace(may_begin=False))
    assert queue.behind_s(A) == pytest.approx(2)
