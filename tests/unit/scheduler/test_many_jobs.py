"""Test a hundred thousand running jobs: the calls of a pass, and the memory of all jobs.

The tests count calls instead of time: one call of Python takes 0.1 to 1 microseconds.
"""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any
from uuid import UUID

from actors.scheduler.policy.dispatcher import MAX_PROPOSALS, Plan, plan
from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import JobRow, JobsReading, PortalReading, PortalRow, WorkerRow

LIMITS = Limits(at_once=100, per_court=20, lanes=5)
PORTION = 2_000
# 50 ms at half a microsecond a call.
MOST_CALLS = 100_000
MOST_BYTES_A_JOB = 3_000  # 300 MB for 100,000


def test_a_pass_over_100_000_jobs_takes_few_calls() -> None:
    state, dice = _state(100_000)
    assert _most_calls(state, dice) < MOST_CALLS


def test_a_pass_takes_no_more_calls_for_ten_times_as_many_jobs() -> None:
    fewer, more = (_most_calls(*_state(jobs)) for jobs in (1_000, 10_000))
    assert more < 2 * fewer


def test_a_portion_is_merged_with_calls_by_its_own_size() -> None:
    state, _ = _state(6_000)
    rows = sorted((run.row for run in state.runs), key=lambda row: row.job_id)[:PORTION]
    reading = JobsReading(5.0, tuple(rows), up_to=rows[-1].job_id)
    assert _calls(lambda: state.read_jobs(reading, 5.0)) < 100 * PORTION


def test_a_job_takes_less_than_three_kilobytes() -> None:
    tracemalloc.start()
    try:
        state, _ = _state(3_000)
        bytes_used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(state.runs) == 3_000
    assert bytes_used < 3_000 * MOST_BYTES_A_JOB


def _most_calls(state: SchedulerState, dice: random.Random) -> int:
    """Return the highest number of calls among several passes; each updates a part of the rates."""
    times = (1.0, 2.0, 3.0)
    return max(_calls(partial(_pass, state, dice, now)) for now in times)


def _pass(state: SchedulerState, dice: random.Random, now: float) -> Plan:
    result = plan(state, now, lambda: UUID(int=dice.getrandbits(128)))
    assert 0 < sum(len(group.messages) for group in result.groups) <= MAX_PROPOSALS
    return result


def _state(jobs: int) -> tuple[SchedulerState, random.Random]:
    dice = random.Random(1)
    state = SchedulerState(LIMITS)
    portal = PortalReading(0.0, PortalRow(LIMITS.at_once), (), {}, (WorkerRow(200),))
    state.read_portal(portal, 0.0)
    # Collections would take longer than the rest: nothing here becomes garbage.
    gc.disable()
    try:
        _read(state, sorted((_row(dice) for _ in range(jobs)), key=lambda row: row.job_id))
    finally:
        gc.enable()
    return state, dice


def _read(state: SchedulerState, rows: list[JobRow]) -> None:
    after: UUID | None = None
    for begin in range(0, len(rows), PORTION):
        portion = tuple(rows[begin : begin + PORTION])
        state.read_jobs(JobsReading(0.0, portion, after, portion[-1].job_id), 0.0)
        after = portion[-1].job_id


def _row(dice: random.Random) -> JobRow:
    return JobRow(
        job_id=UUID(int=dice.getrandbits(128)),
        client=f"client-{dice.randrange(200)}",
        priority=dice.choice(list(Priority)),
        court=f"8.{dice.randrange(27):02}",
        case=f"{dice.getrandbits(60):020}",
        run_began_at=0.0,
        needs_listing=dice.random() < 0.5,
        fresh=dice.randrange(1, 1_000),
    )


def _calls(action: Callable[[], Any]) -> int:
    """Return the number of Python and C calls that an action makes."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count
