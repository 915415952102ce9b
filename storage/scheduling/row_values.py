"""The rows that the scheduler reads, as plain values. The reader converts all times.

All times are seconds on the clock of `now`, the only argument from which the policy takes its time.
The loop adds the offset between the database's clock and its own, which it measures with each
reading. An expired lease holds nothing, so its row is not part of a reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from storage.priorities import Priority

NO_IDS: frozenset[UUID] = frozenset()


class SlotRow(NamedTuple):
    """A slot of the portal that is taken. `court` names its court; courts' slots are not read.

    `token`: the token of the slice that holds it. `requests`: documents in the slice, 1 for a
    listing.
    """

    token: UUID
    job_id: UUID
    court: str
    taken_at: float
    requests: int = 1


class CourtRow(NamedTuple):
    """A court: its moving average, and its circuit breaker.

    `next_probe_at`: None while the breaker is closed, or stops only `held_client`.
    """

    court: str
    request_s: float = 0.0
    measured_requests: int = 0
    next_probe_at: float | None = None
    held_client: str | None = None


class PortalRow(NamedTuple):
    """The portal as a whole.

    `at_once`: concurrent requests allowed now, including a slow start. `closed_until`: the end of a
    pause or of a login block that stops all, the later of the two. `held_clients`: those that a
    pause or a block stops alone. `request_interval_s`: 60 divided by
    PDPJ_MAX_PER_MINUTE, None without a rate. `next_request_at`: the first time that no claim has
    reserved.
    """

    at_once: int
    closed_until: float | None = None
    request_interval_s: float | None = None
    next_request_at: float = 0.0
    held_clients: tuple[str, ...] = ()


class WorkerRow(NamedTuple):
    """The heartbeat of a worker process that is not too old.

    `threads`: 0 while it stops or has a problem. `takes_files`: False if its spool has no room.
    """

    threads: int
    takes_files: bool = True


@dataclass(frozen=True, slots=True)
class JobRow:
    """A running job: what it may request from the portal, and what it holds.

    Attributes:
        case: the CNJ number; jobs of one case share its listing.
        run_began_at: when the run or the rerun began.
        needs_listing: the case of this run is not listed yet.
        listing_not_before: earliest time of the next listing, None for at once.
        is_listed_by_another: another job's claim lists the same case now.
        waits_for_budget: its case is new to the budget of different cases, which was used up.
        fresh: PENDING documents without an attempt.
        due: PENDING documents past their `not_before`.
        next_not_before: the earliest `not_before` in the future, None if there is none.
        slices: tokens of its DOWNLOADING documents and of its own listing, if the lease is alive.
        spooled: ids of its DOWNLOADED documents. Each takes a lane, as a slice does.
        documents_left: documents that are PENDING or DOWNLOADING, None before the listing.
        total_documents: documents of the case, None before the listing.
    """

    job_id: UUID
    client: str
    priority: Priority
    court: str
    case: str
    run_began_at: float
    needs_listing: bool = True
    listing_not_before: float | None = None
    is_listed_by_another: bool = False
    waits_for_budget: bool = False
    fresh: int = 0
    due: int = 0
    next_not_before: float | None = None
    slices: frozenset[UUID] = field(default=NO_IDS)
    spooled: frozenset[UUID] = field(default=NO_IDS)
    documents_left: int | None = None
    total_documents: int | None = None


@dataclass(frozen=True, slots=True)
class PortalReading:
    """The rows that are read together once a second.

    `began_at`: the loop's time before it sent the first statement.
    """

    began_at: float
    portal: PortalRow
    slots: tuple[SlotRow, ...]
    courts: Mapping[str, CourtRow]
    workers: tuple[WorkerRow, ...]


@dataclass(frozen=True, slots=True)
class JobsReading:
    """All running jobs with `after` < job_id <= `up_to`; None: from the first, to the last.

    `is_whole`: False if the reading took only a part of the jobs in its range, such as the jobs
    with a run that began within the last minute. Such a reading replaces and adds, and removes
    nothing.
    """

    began_at: float
    jobs: tuple[JobRow, ...]
    after: UUID | None = None
    up_to: UUID | None = None
    is_whole: bool = True
