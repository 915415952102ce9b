"""Test that memory is derived: after any loss, one full reading makes it equal to the rows."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.hints.hints import Ended, JobEnded, JobWanted, SliceBegun
from actors.scheduler.policy.run_state import RunState
from actors.scheduler.policy.scheduler_state import SchedulerState
from actors.scheduler.policy.slot_table import SlotTable
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import JobRow, JobsReading, SlotRow
from tests.simulation.simulated_rows import Arrival
from tests.simulation.simulator import SchedulerSimulation, SimulatedFaults
from tests.simulation.workloads import FEW, Workload, workloads

# Some runs lose every hint.
LOSSES = st.sampled_from([0.0, 0.3, 1.0])


@FEW
@given(workloads(documents=20, is_listed=False), LOSSES, st.sampled_from([0.7, 2.2, 5.1, 9.9]))
def test_one_full_reading_makes_memory_equal_to_the_rows(
    workload: Workload, loss: float, at_s: float
) -> None:
    # Given a scheduler that lost hints, or all of them, for a while
    faults = SimulatedFaults(
        hint_lost=loss,
        hint_doubled=0.2,
        message_doubled=0.2,
        row_locked=0.1,
        request_failed=0.2,
        spooled=0.2,
        hop_s=0.02,
    )
    simulation = workload.simulation(faults)
    simulation.run(until=at_s)
    # When everything is read once
    now = at_s + 1.1
    new_leader = SchedulerState(workload.limits)
    for state in (simulation.state, new_leader):
        _read_all(simulation, state, now)
    # Then its memory equals the rows, and so does that of a new leader
    assert _remembered(simulation.state) == _true(simulation, now)
    assert _remembered(new_leader) == _true(simulation, now)
    for run in new_leader.runs:
        old = simulation.state.runs.get(run.row.job_id)
        assert old is not None
        assert old.ready(now) == run.ready(now)
        # A new leader has no record of refusals.
        scope = (RefusedScope.JOB, run.row.job_id)
        is_limited = simulation.state.backoff.room(scope, now, 0) < math.inf
        if simulation.state.eligibility(old, now).again_at is None and not is_limited:
            assert simulation.state.eligibility(old, now) == new_leader.eligibility(run, now)


def _read_all(simulation: SchedulerSimulation, state: SchedulerState, now: float) -> None:
    state.read_portal(simulation.world.read_portal(now), now)
    after: UUID | None = None
    while True:
        reading = simulation.world.read_jobs(now, after)
        state.read_jobs(reading, now)
        if (after := reading.up_to) is None:
            break
    state.drop_expired(now)


def _remembered(state: SchedulerState) -> dict[str, Any]:
    return {
        "jobs": {run.row.job_id: (set(run.slices), set(run.spooled)) for run in state.runs},
        "rows": {run.row.job_id: run.row for run in state.runs},
        "slots": {row.token for row in state.slots.rows()},
        "unrecorded": state.runs.unrecorded,
        "outstanding": len(state.window),
    }


def _true(simulation: SchedulerSimulation, now: float) -> dict[str, Any]:
    jobs = simulation.world.jobs.values()
    return {
        "jobs": {job.job_id: (set(job.slices), job.spooled) for job in jobs},
        "rows": {job.job_id: simulation.world.row(job, now) for job in jobs},
        "slots": set(simulation.world.slots),
        "unrecorded": sum(len(job.slices) for job in jobs),
        "outstanding": 0,
    }


@pytest.mark.parametrize("loss", [0.5, 1.0])
def test_work_goes_on_without_hints(loss: float) -> None:
    simulation = _three_jobs(SimulatedFaults(hint_lost=loss, hop_s=0.01))
    simulation.run(until=300)
    assert len(simulation.ended_at) == 3


def test_a_restart_costs_no_more_than_a_reading() -> None:
    quiet, restarted = (_three_jobs(SimulatedFaults(hop_s=0.01, restarts=r)) for r in ((), (3.0,)))
    quiet.run(until=300)
    restarted.run(until=300)
    assert max(restarted.ended_at.values()) <= max(quiet.ended_at.values()) + 1.5


def _three_jobs(faults: SimulatedFaults) -> SchedulerSimulation:
    simulation = SchedulerSimulation(Limits(at_once=5, per_court=5, lanes=5), faults=faults)
    for client in "abc":
        simulation.arrive(Arrival(0, client, "8.26", 30, request_s=(0.5,), is_listed=False))
    return simulation


# The rules of merging.

JOB, TOKEN, OTHER, DOCUMENT = (UUID(int=number) for number in range(1, 5))


def _row(**values: Any) -> JobRow:
    listed = {"needs_listing": False, "fresh": 5} | values
    return JobRow(JOB, "a", Priority.NORMAL, "8.26", "case", run_began_at=0.0, **listed)


def _read(runs: RunState, began_at: float, *rows: JobRow) -> None:
    runs.merge(JobsReading(began_at, rows))


def test_what_hints_added_since_a_reading_began_survives_it() -> None:
    runs = RunState()
    _read(runs, 1.0, _row())
    runs.begin(SliceBegun(None, JOB, TOKEN, (DOCUMENT,)), 2.5)
    _read(runs, 2.0, _row(slices=frozenset({OTHER})))
    run = runs.get(JOB)
    assert run is not None
    assert set(run.slices) == {TOKEN, OTHER}
    assert run.ready(2.5) == 4
    _read(runs, 3.0, _row(slices=frozenset({TOKEN}), fresh=4))
    assert set(run.slices) == {TOKEN}
    assert run.ready(3.0) == 4


def test_what_ended_does_not_come_back_with_an_older_reading() -> None:
    runs = RunState()
    _read(runs, 1.0, _row(slices=frozenset({TOKEN})))
    runs.end(Ended(JOB, TOKEN, 0.5), 2.5)
    _read(runs, 2.0, _row(slices=frozenset({TOKEN})))
    run = runs.get(JOB)
    assert run is not None
    assert not run.slices
    assert runs.unrecorded == 0


def test_a_slice_that_ended_before_its_beginning_was_reported_takes_no_lane() -> None:
    runs = RunState()
    _read(runs, 1.0, _row())
    runs.end(Ended(JOB, TOKEN, 0.5), 2.0)
    runs.begin(SliceBegun(None, JOB, TOKEN, (DOCUMENT,)), 2.1)
    run = runs.get(JOB)
    assert run is not None
    assert run.lanes_taken == 0


def test_a_job_that_ended_does_not_come_back_until_it_runs_again() -> None:
    runs = RunState()
    _read(runs, 1.0, _row())
    runs.end_job(JOB, 2.5)
    _read(runs, 2.0, _row())
    assert runs.get(JOB) is None
    runs.want(JobWanted(_row()).job, 3.0)
    assert runs.get(JOB) is not None


def test_a_portion_removes_only_jobs_of_its_range() -> None:
    runs = RunState()
    rows = [JobRow(UUID(int=n), "a", Priority.NORMAL, "8.26", "case", 0.0) for n in range(1, 6)]
    runs.merge(JobsReading(1.0, tuple(rows)))
    gone = runs.merge(JobsReading(2.0, (rows[3],), after=UUID(int=2), up_to=UUID(int=4)))
    assert gone == {UUID(int=3), UUID(int=4)}
    assert [run.row.job_id.int for run in runs] == [1, 2, 4, 5]
    runs.merge(JobsReading(3.0, (), is_whole=False))
    assert len(runs) == 4


def test_an_older_hint_does_not_make_a_listed_job_unlisted() -> None:
    runs = RunState()
    _read(runs, 1.0, _row())
    assert runs.want(_row(needs_listing=True, fresh=0), 2.0) == set()
    run = runs.get(JOB)
    assert run is not None
    assert not run.row.needs_listing
    assert runs.end_job(JobEnded(JOB).job_id, 3.0) == {JOB}


def _slot(token: UUID, court: str = "8.26") -> SlotRow:
    return SlotRow(token, JOB, court, 0.0)


def test_a_slot_that_was_freed_does_not_come_back_with_an_older_reading() -> None:
    slots = SlotTable()
    slots.merge([_slot(TOKEN)], 1.0)
    slots.free(TOKEN, 2.5)
    slots.merge([_slot(TOKEN), _slot(OTHER, "8.19")], 2.0)
    assert {row.token for row in slots.rows()} == {OTHER}
    assert (slots.of_court("8.26"), slots.of_court("8.19")) == (0, 1)
    slots.take(_slot(TOKEN), 2.6)
    assert len(slots) == 1


def test_a_slot_that_was_taken_since_a_reading_began_survives_it() -> None:
    slots = SlotTable()
    slots.take(_slot(TOKEN), 2.5)
    slots.merge([_slot(OTHER)], 2.0)
    assert {row.token for row in slots.rows()} == {TOKEN, OTHER}
    assert slots.of_court("8.26") == 2
    slots.merge([_slot(OTHER)], 3.0)
    assert {row.token for row in slots.rows()} == {OTHER}
