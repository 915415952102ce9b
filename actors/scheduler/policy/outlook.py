"""Convert the running jobs for `storage.estimates.forecast`: queue position and estimated end.

Another thread may call this while the loop continues: it reads each value once, and none is changed
in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import median
from uuid import UUID

from actors.scheduler.policy.fairness.fair_queue import FairQueue
from actors.scheduler.policy.run_state import RememberedRun
from storage.estimates.forecast import ASSUMED_DOCUMENTS, RunningJob
from storage.priorities import WEIGHTS, Priority

# From this many listed cases on, a case that is not listed yet is assumed to be like them.
ENOUGH_CASES = 5
# Longer than any delay between two attempts.
SOON_S = 600.0


def running_jobs(
    runs: Iterable[RememberedRun], queue: FairQueue, now: float = math.inf
) -> Iterator[RunningJob]:
    """Yield every job in the queue. A job's deficit reduces its own and its client's charges.

    The order decides between jobs with equal charges: HIGH jobs first, then the run that began
    first. A case that may not be listed soon after `now` is left out: it has no position, and does
    not delay others.
    """
    for run in sorted(runs, key=_arrival):
        row = run.row
        if row.needs_listing and now + SOON_S < (row.listing_not_before or -math.inf):
            continue
        yield RunningJob(
            job_id=row.job_id,
            client=row.client,
            court=row.court,
            is_bulk=row.priority is Priority.BULK,
            weight=WEIGHTS[row.priority],
            virtual_time=-queue.behind_s(row.job_id),
            documents_left=row.documents_left,
            requests_under_way=len(run.slices),
        )


def assumed_documents(runs: Iterable[RememberedRun]) -> int:
    """Return the assumed number of documents of a case that is not listed yet."""
    totals = [total for run in runs if (total := run.row.total_documents) is not None]
    return int(median(totals)) if len(totals) >= ENOUGH_CASES else ASSUMED_DOCUMENTS


def _arrival(run: RememberedRun) -> tuple[bool, float, UUID]:
    row = run.row
    return row.priority is not Priority.HIGH, row.run_began_at, row.job_id
