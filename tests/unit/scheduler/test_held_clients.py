"""Test that jobs of a client that is stopped alone are put aside, and no others."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from actors.hints.hints import JobWanted, ProposalRefused
from actors.scheduler.policy.dispatcher import plan
from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import CourtRow, JobRow, PortalReading, PortalRow, WorkerRow

ALPHA = tuple(UUID(int=number) for number in range(1, 4))
ELSEWHERE, BETA = UUID(int=8), UUID(int=9)
CLIENTS = {**dict.fromkeys(ALPHA, "alpha"), ELSEWHERE: "alpha", BETA: "beta"}
UNTIL = 100.0


@pytest.fixture
def state() -> SchedulerState:
    """Return a scheduler with four jobs of alpha, one of them at another court, and one of beta."""
    state = SchedulerState(Limits(at_once=64, per_court=64, lanes=1))
    _read(state, 0.0)
    for job_id, client in CLIENTS.items():
        court = "8.19" if job_id == ELSEWHERE else "8.26"
        row = JobRow(job_id, client, Priority.NORMAL, court, str(job_id), 0.0)
        state.receive(JobWanted(row), 0.0)
    return state


def _read(state: SchedulerState, now: float, *, is_held: bool = False) -> None:
    held = "alpha" if is_held else None
    courts = {court: CourtRow(court, 0.1, 9, held_client=held) for court in ("8.26", "8.19")}
    portal = PortalRow(64, held_clients=("alpha",) if is_held else ())
    state.read_portal(PortalReading(now, portal, (), courts, (WorkerRow(64),)), now)


def _proposed(state: SchedulerState, now: float) -> set[UUID]:
    return {group.job_id for group in plan(state, now, uuid4).groups}


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        (RefusedScope.CLIENT, {*ALPHA, ELSEWHERE}),
        (RefusedScope.CLIENT_COURT, {*ALPHA}),
        (RefusedScope.JOB, {ALPHA[0]}),
    ],
)
def test_a_refusal_for_a_client_puts_aside_its_jobs_and_no_others(
    state: SchedulerState, scope: RefusedScope, stopped: set[UUID]
) -> None:
    state.receive(ProposalRefused(None, ALPHA[0], scope, until=UNTIL), 1.0)
    _read(state, 1.0, is_held=True)

    assert _proposed(state, 1.0) == CLIENTS.keys() - stopped
    assert _proposed(state, UNTIL + 1) >= stopped


@pytest.mark.parametrize("scope", [RefusedScope.CLIENT, RefusedScope.CLIENT_COURT])
def test_a_clients_jobs_go_on_with_the_first_reading_without_its_hold(
    state: SchedulerState, scope: RefusedScope
) -> None:
    state.receive(ProposalRefused(None, ALPHA[0], scope, until=UNTIL), 1.0)
    assert not {*ALPHA} & _proposed(state, 1.0)

    # A reading from before the refusal proves nothing.
    _read(state, 0.5)
    assert not {*ALPHA} & _proposed(state, 1.5)
    _read(state, 2.0, is_held=True)
    assert not {*ALPHA} & _proposed(state, 2.5)

    _read(state, 3.0)
    assert _proposed(state, 3.0) >= {*ALPHA}
