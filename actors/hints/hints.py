"""The hints that servers, workers and uploaders send to the scheduler, each after its commit.

A hint only hurries: what it says is in the rows too, and the next reading finds it there. So a hint
may be lost, doubled, late or out of order.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from storage.scheduling.row_values import JobRow

# A proposal that is older is dropped; a worker acknowledges its message unread.
PROPOSAL_AGE_S = 1.0


class RefusedScope(StrEnum):
    """What a refusal of a claim concerns."""

    PORTAL = "PORTAL"
    COURT = "COURT"
    CASE = "CASE"
    JOB = "JOB"


class JobWanted(NamedTuple):
    """A run began, was listed, or changed its priority: its row as the sender committed it.

    When a case is listed, or its listing has failed, one is sent for every job that waited for it.
    """

    job: JobRow


class JobEnded(NamedTuple):
    """The run of a job is over, or cancelled."""

    job_id: UUID


class SliceBegun(NamedTuple):
    """A claim answered a proposal (None: it answered none) with a slice.

    Attributes:
        token: of the slice.
        documents: ids of its documents; none for a listing.
        has_more: the job has more that may begin at once.
        next_not_before: the earliest `not_before` of the job that is not over.
        next_request_at: the first moment that no claim has reserved; None without a rate.
    """

    proposal_id: UUID | None
    job_id: UUID
    token: UUID
    documents: tuple[UUID, ...] = ()
    has_more: bool = True
    next_not_before: float | None = None
    next_request_at: float | None = None


class ProposalRefused(NamedTuple):
    """A claim answered a proposal with a refusal.

    Attributes:
        until: nothing of this scope may begin before. None: the rows were locked or all slots
            taken, so nothing is known.
        is_empty: the job has nothing that may begin at once; `until` is then its earliest
            `not_before`, or None.
    """

    proposal_id: UUID | None
    job_id: UUID
    scope: RefusedScope
    until: float | None = None
    is_empty: bool = False


class SlotFreed(NamedTuple):
    """The last answer of a slice has come, and its slot is free; `used_s`: slot-seconds."""

    token: UUID
    used_s: float


class Ended(NamedTuple):
    """All documents of a slice are recorded (`used_s` as in SlotFreed), or a spooled one is stored.

    Attributes:
        token: of the slice; for a document that was in the spool, its id.
        used_s: slot-seconds; None if unknown or reported before.
        spooled: documents that lie in the spool from now on.
        returned: documents that are PENDING again and may begin at once.
        next_not_before: the earliest `not_before` of those that are PENDING again and must wait.
    """

    job_id: UUID
    token: UUID
    used_s: float | None = None
    spooled: tuple[UUID, ...] = ()
    returned: tuple[UUID, ...] = ()
    next_not_before: float | None = None


class PlaceAsked(NamedTuple):
    """A server was asked for the places of running jobs: they are to be published."""

    job_ids: tuple[UUID, ...]


Hint = JobWanted | JobEnded | SliceBegun | ProposalRefused | SlotFreed | Ended | PlaceAsked
