"""The window of outstanding proposals: how many more may be sent, and to which courts.

A proposal is outstanding from its sending until its answer, or until it is dropped. Outstanding
proposals, taken slots and threads, and the rate limit new proposals to requests that may begin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from actors.hints.hints import PROPOSAL_AGE_S
from storage.scheduling.row_values import PortalRow, WorkerRow

# How many seconds ahead the first request of a proposal may be due. A claim refuses more than
# 0.25 s, so this keeps a small margin.
RATE_AHEAD_S = 0.2
# The requests of a proposal are few enough to begin within this many seconds at the rate.
RATE_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed slice. `charge_s`: its charge in slot-seconds; `sent_at`: seconds."""

    proposal_id: UUID
    job_id: UUID
    court: str
    is_listing: bool
    requests: int
    sent_at: float
    charge_s: float


class Window:
    """The outstanding proposals, and how many more there is room for."""

    def __init__(self) -> None:
        self._outstanding: dict[UUID, Proposal] = {}
        self._by_court: Counter[str] = Counter()
        self._by_job: dict[UUID, dict[UUID, Proposal]] = {}
        self._requests = 0
        self._files = 0

    def __len__(self) -> int:
        return len(self._outstanding)

    def of_court(self, court: str) -> int:
        """Return how many outstanding proposals there are for a court."""
        return self._by_court[court]

    def of_job(self, job_id: UUID) -> Collection[Proposal]:
        """Return the outstanding proposals of a job."""
        return self._by_job.get(job_id, {}).values()

    def add(self, proposal: Proposal) -> None:
        """Count a proposal that is sent."""
        self._outstanding[proposal.proposal_id] = proposal
        self._by_job.setdefault(proposal.job_id, {})[proposal.proposal_id] = proposal
        self._count(proposal, 1)

    def take(self, proposal_id: UUID | None) -> Proposal | None:
        """Remove a proposal from the count. Return None if it was answered or dropped before."""
        if proposal_id is None:
            return None
        proposal = self._outstanding.pop(proposal_id, None)
        if proposal is not None:
            self._count(proposal, -1)
            del self._by_job[proposal.job_id][proposal_id]
            if not self._by_job[proposal.job_id]:
                del self._by_job[proposal.job_id]
        return proposal

    def expired(self, now: float) -> list[UUID]:
        """Return the ids of proposals that are at least PROPOSAL_AGE_S old, the oldest first."""
        old: list[UUID] = []
        for proposal in self._outstanding.values():
            if proposal.sent_at + PROPOSAL_AGE_S > now:
                break
            old.append(proposal.proposal_id)
        return old

    def next_expiry(self) -> float | None:
        """Return when the oldest proposal is to be dropped."""
        for proposal in self._outstanding.values():
            return proposal.sent_at + PROPOSAL_AGE_S
        return None

    def free_slots(self, portal: PortalRow, taken: int) -> int:
        """Return how many more proposals the slots of the portal have room for."""
        return portal.at_once - taken - len(self._outstanding)

    def free_threads(self, workers: tuple[WorkerRow, ...], unrecorded: int) -> tuple[int, int]:
        """Return how many more proposals of any kind, and of files, the workers have threads for.

        `unrecorded`: slices that began and are not recorded yet; each occupies a thread.
        """
        threads = sum(w.threads for w in workers)
        for_files = sum(w.threads for w in workers if w.takes_files)
        free = threads - unrecorded - len(self._outstanding)
        return free, min(free, for_files - unrecorded - self._files)

    def free_requests(self, portal: PortalRow, now: float) -> int | None:
        """Return how many requests the rate lets a further proposal begin; None without a rate."""
        if portal.request_interval_s is None:
            return None
        if self.rate_opens_at(portal, now) > now:
            return 0
        first_at = self._next_moment(portal, now)
        return 1 + math.floor((now + RATE_WINDOW_S - first_at) / portal.request_interval_s)

    def rate_opens_at(self, portal: PortalRow, now: float) -> float:
        """Return when the rate lets a further proposal be sent."""
        return self._next_moment(portal, now) - RATE_AHEAD_S

    def _next_moment(self, portal: PortalRow, now: float) -> float:
        interval_s = portal.request_interval_s or 0.0
        return max(now, portal.next_request_at) + self._requests * interval_s

    def _count(self, proposal: Proposal, by: int) -> None:
        self._by_court[proposal.court] += by
        self._requests += by * proposal.requests
        self._files += 0 if proposal.is_listing else by
