"""The order in which jobs that wait for the budget of different cases go on.

A place in the budget is given to one job at a time. Clients take turns, as they do for slots. Of
one client, HIGH jobs go before NORMAL jobs, and then the run that began first. A BULK job goes on
only if no HIGH or NORMAL job of any client can. A client gains no credit while none of its jobs
waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from actors.scheduler.policy.fairness.tag_heap import TagHeap
from storage.priorities import Priority


class BudgetClaimant(NamedTuple):
    """A job that waits only for the budget. `began_at`: seconds, when its run began."""

    client: str
    court: str
    priority: Priority
    began_at: float


_Key = tuple[bool, str, bool]


class BudgetQueue:
    """The jobs that wait for the budget. `admitted`: the one that may request its listing now."""

    def __init__(self) -> None:
        self.admitted: UUID | None = None
        self._jobs: dict[UUID, BudgetClaimant] = {}
        # By court, and by class (BULK or not), client and rank (HIGH or not): the oldest run first.
        self._queues: dict[str, dict[_Key, TagHeap[UUID]]] = {}
        # By client: how many places it has received. A client that begins to wait starts at
        # `_least`, so that it gains no credit for the time before.
        self._given: dict[str, int] = {}
        self._least = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job_id: UUID, claimant: BudgetClaimant) -> None:
        """Add a job, or change its values."""
        if self._jobs.get(job_id) == claimant:
            return
        self.remove(job_id)
        self._jobs[job_id] = claimant
        of_court = self._queues.setdefault(claimant.court, {})
        of_court.setdefault(_key(claimant), TagHeap()).put(job_id, claimant.began_at)
        given = self._given.get(claimant.client, 0)
        self._given[claimant.client] = max(given, self._least)

    def remove(self, job_id: UUID) -> None:
        """Forget a job, if it is there."""
        claimant = self._jobs.pop(job_id, None)
        if claimant is None:
            return
        of_court = self._queues[claimant.court]
        queue = of_court[_key(claimant)]
        queue.remove(job_id)
        if not queue:
            del of_court[_key(claimant)]
        if not of_court:
            del self._queues[claimant.court]

    def first(self, is_open: Callable[[str], bool]) -> UUID | None:
        """Return the job that goes on next; None if no job waits at an open court.

        `is_open`: whether a request may begin at a court.
        """
        waiting = [
            (is_bulk, self._given[client], client, is_low, first)
            for court, queues in self._queues.items()
            if is_open(court)
            for (is_bulk, client, is_low), queue in queues.items()
            if (first := queue.first()) is not None
        ]
        return min(waiting)[-1][1] if waiting else None

    def charge(self, client: str) -> None:
        """Record that a job of a client took a place."""
        given = self._given.get(client, self._least)
        # The other clients have received no more than this one when it was first.
        self._least = max(self._least, given)
        self._given[client] = given + 1


def _key(claimant: BudgetClaimant) -> _Key:
    is_bulk = claimant.priority is Priority.BULK
    return is_bulk, claimant.client, claimant.priority is not Priority.HIGH
