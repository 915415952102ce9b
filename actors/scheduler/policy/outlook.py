"""The running jobs as `storage.forecast` takes them, for place and estimated end."""

from __future__ import annotations

from collections.abc import Iterator

from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.forecast import RunningJob
from storage.priorities import WEIGHTS, Priority


def running_jobs(state: SchedulerState) -> Iterator[RunningJob]:
    """Return every running job. What it is behind, it and its client have had less than others."""
    for run in state.runs:
        row = run.row
        behind_s = state.queue.behind_s(row.job_id)
        yield RunningJob(
            job_id=row.job_id,
            client=row.client,
            court=row.court,
            is_bulk=row.priority is Priority.BULK,
            weight=WEIGHTS[row.priority],
            turn_pass=-behind_s,
            client_pass=-behind_s,
            documents_left=row.documents_left,
            requests_under_way=sum(1 for _ in run.slices),
        )
