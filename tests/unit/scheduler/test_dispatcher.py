"""Test one pass: for which job it proposes work, and how much."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from actors.hints.hints import Ended, JobWanted, ProposalRefused, SliceBegun
from actors.scheduler.policy.dispatcher import plan, slice_size
from actors.scheduler.policy.estimator import Estimator
from actors.scheduler.policy.outlook import running_jobs
from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.estimates.forecast import forecast
from storage.estimates.request_times import UNMEASURED_S
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import (
    CourtRow,
    JobRow,
    PortalReading,
    PortalRow,
    SlotRow,
    WorkerRow,
)

JOB, OTHER = UUID(int=1), UUID(int=2)
LIMITS = Limits(at_once=10, per_court=6, lanes=5)
FAST = CourtRow("8.26", 0.01, 1_000)
SLOW = CourtRow("8.26", 0.5, 1_000)
OPEN = PortalRow(10)


def _state(*workers: WorkerRow, court: CourtRow = FAST, portal: PortalRow = OPEN) -> SchedulerState:
    state = SchedulerState(LIMITS)
    reading = PortalReading(0.0, portal, (), {court.court: court}, workers or (WorkerRow(20),))
    state.read_portal(reading, 0.0)
    return state


def _want(state: SchedulerState, job_id: UUID = JOB, **values: Any) -> None:
    row = JobRow(job_id, "a", Priority.NORMAL, "8.26", values.pop("case", "case"), 0.0, **values)
    state.receive(JobWanted(row), 0.0)


def _sizes(state: SchedulerState, now: float = 0.0) -> dict[UUID, list[int]]:
    groups = plan(state, now, uuid4).groups
    return {group.job_id: [message.requests for message in group.messages] for group in groups}


@pytest.mark.parametrize(
    ("priority", "needs_listing", "interval_s", "goes_on"),
    [
        (Priority.HIGH, True, None, True),
        (Priority.NORMAL, True, None, True),
        (Priority.BULK, True, None, False),
        (Priority.NORMAL, True, 0.01, False),
        (Priority.NORMAL, False, None, False),
    ],
    ids=["high", "normal", "bulk", "a rate", "files"],
)
def test_a_listing_goes_on_with_a_document_unless_others_or_a_rate_come_first(
    priority: Priority, needs_listing: bool, interval_s: float | None, goes_on: bool
) -> None:
    state = _state(portal=PortalRow(10, request_interval_s=interval_s))
    fresh = 0 if needs_listing else 1
    row = JobRow(JOB, "a", priority, "8.26", "case", 0.0, needs_listing=needs_listing, fresh=fresh)
    state.receive(JobWanted(row), 0.0)

    ((message,),) = (group.messages for group in plan(state, 0.0, uuid4).groups)

    assert (message.is_listing, message.goes_on) == (needs_listing, goes_on)


@pytest.mark.parametrize(
    ("expected_s", "fresh", "free_lanes", "slots", "size"),
    [
        # Documents are spread over the free lanes, and a slice is no longer than SLICE_S.
        (0.01, 100, 5, None, 8),
        (0.01, 20, 5, None, 4),
        (0.01, 6, 1, None, 6),
        (0.025, 100, 5, None, 8),
        (0.05, 100, 5, None, 4),
        (0.11, 100, 5, None, 1),
        (0.5, 100, 5, None, 1),
        # Documents are spread over no more lanes than the job has slots for.
        (0.01, 20, 5, 2.5, 8),
        (0.02, 12, 5, 2.5, 6),
        # While jobs wait for slots, it is no shorter than LEAST_CONTENDED_SLICE_S.
        (0.02, 5, 5, 2.5, 5),
        (0.01, 20, 5, 0.3, 8),
        (0.01, 20, 2, 5.0, 8),
        # A slice is no shorter than LEAST_SLICE_S.
        (0.01, 3, 5, None, 2),
        (0.003, 20, 5, None, 8),
        (0.003, 3, 5, None, 3),
        (0.01, 0, 5, None, 1),
    ],
)
def test_a_slice_is_as_long_as_lanes_shares_and_the_court_make_sensible(
    expected_s: float, fresh: int, free_lanes: int, slots: float | None, size: int
) -> None:
    assert size == slice_size(
        expected_s=expected_s, fresh=fresh, free_lanes=free_lanes, slots=slots
    )


def test_jobs_that_wait_for_slots_get_fewer_and_longer_slices() -> None:
    state = _state()
    jobs = [uuid4() for _ in range(40)]
    for job_id in jobs:
        _want(state, job_id, needs_listing=False, fresh=20)
    assert {size for sizes in _sizes(state).values() for size in sizes} == {8}


def test_twenty_documents_of_a_fast_court_are_one_group_of_five_slices() -> None:
    state = _state()
    _want(state, needs_listing=False, fresh=20)
    assert _sizes(state) == {JOB: [4, 4, 4, 4, 4]}


def test_retries_that_are_due_are_proposed_one_by_one() -> None:
    state = _state()
    _want(state, needs_listing=False, due=3)
    assert _sizes(state) == {JOB: [1, 1, 1]}


def test_a_case_is_proposed_once_and_again_when_the_job_that_listed_it_is_done() -> None:
    state = _state()
    _want(state)
    assert _sizes(state) == {JOB: [1]}
    assert _sizes(state) == {}
    # The claim of another job of the same case is refused while the case is being listed
    _want(state, OTHER)
    assert _sizes(state) == {OTHER: [1]}
    state.receive(ProposalRefused(None, OTHER, RefusedScope.CASE, until=15.0), 0.1)
    assert _sizes(state, 1.5) == {}
    state.receive(JobWanted(_listed(JOB)), 2.0)
    assert _sizes(state, 2.0) == {JOB: [1], OTHER: [1]}


def _listed(job_id: UUID) -> JobRow:
    return JobRow(job_id, "a", Priority.NORMAL, "8.26", "case", 0.0, needs_listing=False, fresh=1)


def test_it_is_idle_while_a_new_job_would_be_served_at_once() -> None:
    def is_idle(state: SchedulerState) -> bool:
        return plan(state, 0.0, uuid4).is_idle

    state = _state()
    assert is_idle(state)
    _want(state)
    assert is_idle(state), "The only job is proposed at once."
    for _ in range(5):
        _want(state, uuid4(), needs_listing=False, fresh=100)
    assert not is_idle(state), "Jobs wait for slots."

    assert not is_idle(SchedulerState(LIMITS)), "Nothing is read yet."
    assert not is_idle(_state(WorkerRow(0))), "No thread is there."
    assert not is_idle(_state(portal=PortalRow(10, closed_until=60.0))), "The portal is closed."


def test_nothing_is_proposed_before_the_first_reading() -> None:
    state = SchedulerState(LIMITS)
    _want(state)
    assert _sizes(state) == {}


def test_workers_without_room_in_their_spool_get_listings_only() -> None:
    state = _state(WorkerRow(10, takes_files=False))
    _want(state, needs_listing=False, fresh=20)
    _want(state, OTHER, case="other")
    assert _sizes(state) == {OTHER: [1]}


def test_a_pause_closes_the_portal_and_the_next_pass_is_due_at_its_end() -> None:
    state = _state(portal=PortalRow(10, closed_until=30.0))
    _want(state)
    result = plan(state, 0.0, lambda: JOB)
    assert (result.groups, result.next_at) == ((), 30.0)


def test_a_court_that_is_away_gets_one_probe_when_it_is_due() -> None:
    state = _state(court=CourtRow("8.26", 0.5, 100, next_probe_at=5.0))
    _want(state, needs_listing=False, fresh=20)
    assert _sizes(state, 4.9) == {}
    assert _sizes(state, 5.0) == {JOB: [1]}
    state.receive(SliceBegun(None, JOB, OTHER, (OTHER,)), 5.1)
    state.receive(Ended(JOB, OTHER, 0.5), 5.5)
    # No second proposal before the next reading gives the time
    assert _sizes(state, 7.0) == {}


def test_a_court_that_is_open_again_is_not_closed_by_a_refusal_of_before() -> None:
    # Given a proposal that was refused while another job's probe was under way
    state = _state(court=CourtRow("8.26", 0.5, 100))
    _want(state, needs_listing=False, fresh=20)
    state.receive(ProposalRefused(None, JOB, RefusedScope.COURT, until=30.0), 5.0)
    assert _sizes(state, 6.0) == {}
    # When an older reading shows no change, and a later one shows that the court is open
    for began_at, sizes in ((4.9, {}), (6.1, {JOB: [1] * 5})):
        courts = {"8.26": CourtRow("8.26", 0.5, 100)}
        state.read_portal(PortalReading(began_at, OPEN, (), courts, (WorkerRow(20),)), 6.2)
        # Then work is proposed at once
        assert _sizes(state, 6.2) == sizes


def test_a_login_that_works_again_is_not_held_by_a_refusal_of_before() -> None:
    # Given a proposal that was refused because the login is held for a quarter of an hour
    state = _state(court=CourtRow("8.26", 0.5, 100))
    _want(state, needs_listing=False, fresh=20)
    state.receive(ProposalRefused(None, JOB, RefusedScope.PORTAL, until=900.0), 5.0)
    assert _sizes(state, 6.0) == {}
    # When an older reading shows no hold, and then a later one
    for began_at, sizes in ((4.9, {}), (6.1, {JOB: [1] * 5})):
        courts = {"8.26": CourtRow("8.26", 0.5, 100)}
        state.read_portal(PortalReading(began_at, OPEN, (), courts, (WorkerRow(20),)), 6.2)
        # Then work is proposed at once
        assert _sizes(state, 6.2) == sizes


def test_a_job_with_nothing_ready_waits_for_its_next_document() -> None:
    state = _state()
    _want(state, needs_listing=False, fresh=1)
    _sizes(state)
    state.receive(ProposalRefused(None, JOB, RefusedScope.JOB, until=8.0, is_empty=True), 0.5)
    assert _sizes(state, 7.9) == {}
    assert _sizes(state, 8.0) == {JOB: [1]}


def test_a_new_leader_charges_what_holds_slots_as_soon_as_it_knows_the_job() -> None:
    # Given two jobs, one of which holds three slots that this leader did not propose
    state = SchedulerState(LIMITS)
    rows = tuple(SlotRow(UUID(int=n), JOB, "8.26", 0.0) for n in range(10, 13))
    reading = PortalReading(0.0, PortalRow(4), rows, {"8.26": SLOW}, (WorkerRow(20),))
    state.read_portal(reading, 0.0)
    for job_id in (JOB, OTHER):
        _want(state, job_id, needs_listing=False, fresh=20)
    state.read_portal(reading, 1.0)
    # Then the other job is next
    assert _sizes(state, 1.0) == {OTHER: [1]}


def test_place_and_end_are_forecast_from_what_the_scheduler_remembers() -> None:
    state = _state(court=SLOW)
    _want(state, needs_listing=False, fresh=20, documents_left=20)
    _want(state, OTHER, needs_listing=False, fresh=20, documents_left=20)
    state.receive(SliceBegun(None, JOB, UUID(int=9), (UUID(int=8),)), 0.0)
    jobs = list(running_jobs(state.runs, state.queue))
    outlooks = forecast(jobs, LIMITS, state.estimator.expected())
    assert outlooks[JOB].queue_position is None
    assert outlooks[OTHER].queue_position == 1
    # Forty documents of half a second each, six at a time.
    assert outlooks[OTHER].seconds_left == pytest.approx(40 * 0.5 / 6, rel=0.3)


def test_a_job_that_waits_for_its_own_time_has_no_place_and_takes_none() -> None:
    state = _state(court=SLOW)
    _want(state, needs_listing=True, listing_not_before=86_400.0)
    _want(state, OTHER, needs_listing=False, fresh=20, documents_left=20)

    queued = [job.job_id for job in running_jobs(state.runs, state.queue, 0.0)]

    assert queued == [OTHER]
    assert len(list(running_jobs(state.runs, state.queue, 86_000.0))) == 2


def test_a_court_without_measurements_takes_what_is_usual() -> None:
    estimator = Estimator()
    assert estimator.request_s("8.26") == UNMEASURED_S
    estimator.learn({"8.19": CourtRow("8.19", 2.0, 1_000)}, [], 0.0)
    assert estimator.request_s("8.26") == estimator.usual_s == 2.0
