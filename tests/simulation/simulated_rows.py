"""The rows in memory as the claim sees them: the truth in simulations of the scheduler.

The claim checks what `storage/sql/portal/claim.sql` checks, in its order, and refuses what is not
allowed. It asserts that no limit is exceeded, whatever is proposed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from uuid import UUID

from actors.hints.hints import JobWanted, ProposalRefused, SliceBegun
from storage.portal.outcomes import RefusedScope
from storage.portal.slots import Limits
from storage.priorities import Priority
from storage.scheduling.row_values import (
    CourtRow,
    JobRow,
    JobsReading,
    PortalReading,
    PortalRow,
    SlotRow,
    WorkerRow,
)

# A claim is refused if its first moment of the rate is further ahead.
RATE_AHEAD_S = 0.25


@dataclass(frozen=True)
class Arrival:
    """A job that arrives. `request_s`: the seconds of each of its requests."""

    at_s: float
    client: str
    court: str
    documents: int
    priority: Priority = Priority.NORMAL
    request_s: tuple[float, ...] = (1.0,)
    is_listed: bool = True


@dataclass
class SimulatedJob:
    """A running job and its documents."""

    job_id: UUID
    arrival: Arrival
    case: str
    began_at: float
    is_listed: bool
    fresh: list[UUID]
    waiting: dict[UUID, float] = field(default_factory=dict)  # until its `not_before`
    slices: dict[UUID, tuple[UUID, ...]] = field(default_factory=dict)
    spooled: set[UUID] = field(default_factory=set)
    requests: int = 0
    locked_until: float = 0.0

    def due(self, now: float) -> list[UUID]:
        """Return the documents with a `not_before` in the past."""
        return [document for document, at in self.waiting.items() if at <= now]

    def next_not_before(self, now: float) -> float | None:
        """Return the earliest `not_before` in the future."""
        return min((at for at in self.waiting.values() if at > now), default=None)

    @property
    def documents_left(self) -> int:
        """Return how many documents are PENDING or DOWNLOADING."""
        return len(self.fresh) + len(self.waiting) + sum(map(len, self.slices.values()))

    @property
    def is_over(self) -> bool:
        """Return True if no work is left."""
        return self.is_listed and not (self.fresh or self.waiting or self.slices or self.spooled)


@dataclass
class SimulatedRows:
    """The rows. `rate`: requests a minute."""

    limits: Limits
    dice: random.Random
    threads: int = 64
    at_once: int | None = None
    paused_until: float | None = None
    # Slots taken by holders that the scheduler cannot read.
    hidden_slots: int = 0
    jobs: dict[UUID, SimulatedJob] = field(default_factory=dict)
    slots: dict[UUID, SlotRow] = field(default_factory=dict)
    courts: dict[str, CourtRow] = field(default_factory=dict)
    next_request_at: float = 0.0
    begun: int = 0
    refused: int = 0
    request_times: list[float] = field(default_factory=list)

    def new_id(self) -> UUID:
        """Draw an id."""
        return UUID(int=self.dice.getrandbits(128))

    @property
    def interval_s(self) -> float | None:
        """Return the seconds between requests, by the rate."""
        return 60 / self.limits.per_minute if self.limits.per_minute else None

    @property
    def slots_allowed(self) -> int:
        """Return the number of requests allowed at once now."""
        return self.limits.at_once if self.at_once is None else self.at_once

    def add(self, arrival: Arrival, now: float, case: str | None = None) -> SimulatedJob:
        """Start a job."""
        job_id = self.new_id()
        documents = [self.new_id() for _ in range(arrival.documents)]
        job = SimulatedJob(job_id, arrival, case or str(job_id), now, arrival.is_listed, documents)
        self.jobs[job_id] = job
        return job

    # Readings.

    def row(self, job: SimulatedJob, now: float) -> JobRow:
        """Return a job as a reading has it."""
        due = len(job.due(now))
        return JobRow(
            job_id=job.job_id,
            client=job.arrival.client,
            priority=job.arrival.priority,
            court=job.arrival.court,
            case=job.case,
            run_began_at=job.began_at,
            needs_listing=not job.is_listed,
            is_listed_by_another=self._is_listed_by_another(job),
            fresh=len(job.fresh) if job.is_listed else 0,
            due=due if job.is_listed else 0,
            next_not_before=job.next_not_before(now),
            slices=frozenset(job.slices),
            spooled=frozenset(job.spooled),
            documents_left=job.documents_left if job.is_listed else None,
        )

    def read_portal(self, now: float) -> PortalReading:
        """Return the values that the scheduler reads every second."""
        portal = PortalRow(
            self.slots_allowed, self.paused_until, self.interval_s, self.next_request_at
        )
        workers = (WorkerRow(self.threads),)
        return PortalReading(now, portal, tuple(self.slots.values()), dict(self.courts), workers)

    def read_jobs(self, now: float, after: UUID | None = None, limit: int = 4) -> JobsReading:
        """Return a portion of the running jobs."""
        keys = sorted(key for key in self.jobs if after is None or key > after)
        rows = tuple(self.row(self.jobs[key], now) for key in keys[:limit])
        return JobsReading(now, rows, after, rows[-1].job_id if len(keys) > limit else None)

    def read_recent(self, now: float) -> JobsReading:
        """Return the jobs with a run that began within the last minute."""
        rows = tuple(self.row(j, now) for j in self.jobs.values() if j.began_at >= now - 60)
        return JobsReading(now, rows, is_whole=False)

    def wanted(self, job: SimulatedJob, now: float) -> JobWanted:
        """Return the hint that work of a job may begin."""
        return JobWanted(self.row(job, now))

    # The claim.

    def claim(
        self, proposal_id: UUID | None, job_id: UUID, requests: int, now: float
    ) -> SliceBegun | ProposalRefused:
        """Begin a slice, or refuse it."""
        job = self.jobs.get(job_id)
        answer: SliceBegun | ProposalRefused | None = None
        if job is None:
            answer = ProposalRefused(proposal_id, job_id, RefusedScope.JOB, is_empty=True)
        else:
            answer = self._refusal(proposal_id, job, now) or self._begin(
                proposal_id, job, requests, now
            )
        if isinstance(answer, SliceBegun):
            self.begun += 1
        else:
            self.refused += 1
        return answer

    def _refusal(
        self, proposal_id: UUID | None, job: SimulatedJob, now: float
    ) -> ProposalRefused | None:
        def no(
            scope: RefusedScope, until: float | None = None, *, is_empty: bool = False
        ) -> ProposalRefused:
            return ProposalRefused(proposal_id, job.job_id, scope, until, is_empty)

        court = self.courts.get(job.arrival.court, CourtRow(job.arrival.court))
        in_court = sum(slot.court == court.court for slot in self.slots.values())
        if job.locked_until > now:
            return no(RefusedScope.JOB)
        if not job.is_listed and self._is_listed_by_another(job):
            return no(RefusedScope.CASE)
        if self.interval_s and self.next_request_at > now + RATE_AHEAD_S:
            return no(RefusedScope.PORTAL, self.next_request_at - RATE_AHEAD_S)
        if self.paused_until is not None and self.paused_until > now:
            return no(RefusedScope.PORTAL, self.paused_until)
        if court.next_probe_at is not None and (court.next_probe_at > now or in_court):
            return no(
                RefusedScope.COURT, court.next_probe_at if court.next_probe_at > now else None
            )
        lanes = self.limits.lanes if job.is_listed else 1
        if len(job.slices) + len(job.spooled) >= lanes:
            return no(RefusedScope.JOB)
        if job.is_listed and not (job.fresh or job.due(now)):
            return no(RefusedScope.JOB, job.next_not_before(now), is_empty=True)
        if in_court >= self.limits.per_court:
            return no(RefusedScope.COURT)
        if len(self.slots) >= max(1, self.slots_allowed - self.hidden_slots):
            return no(RefusedScope.PORTAL)
        return None

    def _begin(
        self, proposal_id: UUID | None, job: SimulatedJob, requests: int, now: float
    ) -> SliceBegun:
        token, documents = self.new_id(), self._take(job, requests, now)
        court = job.arrival.court
        job.slices[token] = documents
        requests = max(1, len(documents))
        self.slots[token] = SlotRow(token, job.job_id, court, now, requests)
        row = self.courts.get(court)
        if row is not None and row.next_probe_at is not None:
            self.courts[court] = row._replace(next_probe_at=now + 5)
        if self.interval_s:
            at = max(now, self.next_request_at)
            self.next_request_at = at + requests * self.interval_s
            self.request_times += [at + k * self.interval_s for k in range(requests)]
        return SliceBegun(
            proposal_id,
            job.job_id,
            token,
            documents,
            has_more=bool(job.fresh or job.due(now)),
            next_not_before=job.next_not_before(now),
            next_request_at=self.next_request_at if self.interval_s else None,
        )

    def _take(self, job: SimulatedJob, requests: int, now: float) -> tuple[UUID, ...]:
        if not job.is_listed:
            return ()
        if due := job.due(now):
            del job.waiting[due[0]]
            return (due[0],)
        taken, job.fresh = job.fresh[:requests], job.fresh[requests:]
        return tuple(taken)

    def _is_listed_by_another(self, job: SimulatedJob) -> bool:
        return any(
            other.case == job.case and other is not job and not other.is_listed and other.slices
            for other in self.jobs.values()
        )
