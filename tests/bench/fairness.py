"""A simulation of the queue for the portal: a virtual clock, and the real rule on real rows.

Jobs come, `storage.tasks.next_task` says what is asked next, a recorded latency says for how long,
and the functions of production record each answer. Nothing waits: a run of an hour takes seconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from storage.tasks import Asking

from storage import latencies, tasks, turns
from storage.claims import Claim
from storage.courts import ProbePolicy
from storage.database import Database
from storage.listing_claims import ListingClaim
from storage.listings import record
from storage.slots import Limits
from tests.bench import estimates
from tests.bench.estimates import Estimate
from tests.bench.fluid import Work, alone_s, shares
from tests.bench.slots import Room
from tests.integration import scenes

# Real seconds; the virtual clock does not touch leases.
LEASE_S = 3_600


@dataclass(frozen=True)
class Arrival:
    """A job that comes. `court` is J.TR."""

    at_s: float
    client: str
    court: str
    documents: int
    priority: str = "NORMAL"


@dataclass(frozen=True)
class Outcome:
    """How long a job took, how long it would have taken alone on its share of the slots, and what
    it was told after its first tenth; None if that was all of it.
    """

    arrival: Arrival
    taken_s: float
    alone_s: float
    estimate: Estimate | None = None

    @property
    def ratio(self) -> float:
        """1: it waited for nobody beyond its share."""
        return self.taken_s / self.alone_s


@dataclass
class _Running:
    """A job under way, in virtual seconds; what each of its requests took."""

    arrival: Arrival
    job_id: UUID
    listing_s: float = 0.0
    documents_s: list[float] = field(default_factory=list)
    end_s: float = 0.0
    # When it was told how many seconds it would still take.
    told: tuple[float, float | None] | None = None

    @property
    def is_to_be_told(self) -> bool:
        """Whether its first tenth is over, and it is not known yet what it is told then."""
        first = estimates.first_tenth(self.arrival.documents)
        return self.told is None and first <= len(self.documents_s) < self.arrival.documents

    def estimate(self, comings_s: Iterable[float]) -> Estimate | None:
        """What it was told, against what came true; `comings_s`: when jobs came."""
        if self.told is None:
            return None
        at_s, left_s = self.told
        came_later = sum(at_s < coming_s < self.end_s for coming_s in comings_s)
        whole_s = self.end_s - self.arrival.at_s
        return Estimate(self.arrival.documents, left_s, self.end_s - at_s, whole_s, came_later)

    @property
    def work(self) -> Work:
        """What the portal had to do for it."""
        a = self.arrival
        return Work(a.at_s, a.client, a.court, a.priority, self.listing_s, tuple(self.documents_s))

    def usual(self, request_s: float) -> Work:
        """The same if each request took as long as requests of its court usually do."""
        usual = (request_s,) * self.arrival.documents
        return replace(self.work, listing_s=request_s, documents_s=usual)


@dataclass
class Simulation:
    """One run on an empty database. `slow`: courts whose answers take so many times as long."""

    database: Database
    room: Room
    latencies_s: Sequence[float]
    seed: int = 1
    slow: dict[str, float] = field(default_factory=dict)

    def run(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """What became of each job, in the order of `arrivals`."""
        self._dice = random.Random(self.seed)
        self._order = itertools.count()
        self._jobs: dict[UUID, _Running] = {}
        self._begun_s: dict[UUID, float] = {}
        self._limits = Limits(self.room.at_once, self.room.per_court, self.room.lanes)
        self._asking = Asking(self._limits, scenes.LOGIN, ProbePolicy(), uuid4(), lease_s=LEASE_S)
        events: list[tuple[float, int, Arrival | tuple[Claim | ListingClaim, float]]] = []
        for arrival in arrivals:
            heapq.heappush(events, (arrival.at_s, next(self._order), arrival))
        while events:
            now, _, event = heapq.heappop(events)
            if isinstance(event, Arrival):
                self._enter(event)
            else:
                self._answer(now, *event)
            for task, request_s in self._ask():
                self._begun_s[task.lease] = now
                heapq.heappush(events, (now + request_s, next(self._order), (task, request_s)))
            for job in self._jobs.values():
                if job.is_to_be_told:
                    job.told = now, self._seconds_left(now, job.job_id)
        return self._outcomes()

    def _enter(self, arrival: Arrival) -> None:
        number = f"{next(self._order):07d}-11.2025.{arrival.court}.0100"
        view, _ = scenes.start(self.database, scenes.request(number, client=arrival.client))
        job_id = view.job.job_id
        self._jobs[job_id] = _Running(arrival, job_id)
        if arrival.priority != "NORMAL":
            with self.database.transaction() as transaction:
                transaction.run(
                    "UPDATE jobs SET priority = %(priority)s WHERE job_id = %(job_id)s",
                    priority=arrival.priority,
                    job_id=job_id,
                )
                turns.leave(transaction, job_id)
                turns.enter(transaction, job_id)

    def _ask(self) -> list[tuple[Claim | ListingClaim, float]]:
        """Everything that may be asked now, and how long the answer will take."""
        found = []
        while task := tasks.next_task(self.database, self._asking):
            assert isinstance(task, Claim | ListingClaim)
            court = self._jobs[task.job_id].arrival.court
            found.append((task, self._dice.choice(self.latencies_s) * self.slow.get(court, 1.0)))
        return found

    def _answer(self, now: float, task: Claim | ListingClaim, request_s: float) -> None:
        job = self._jobs[task.job_id]
        job.end_s = now
        del self._begun_s[task.lease]
        latencies.record_times(self.database, {job.arrival.court: (request_s, 1)})
        if isinstance(task, ListingClaim):
            job.listing_s = request_s
            case = scenes.listing(job.arrival.documents)
            record.record(self.database, task, scenes.docket(task.process_number, case))
            return
        job.documents_s.append(request_s)
        scenes.spooled(self.database, task, scenes.PDF)
        file = scenes.take_upload(
            self.database, task.job_id, task.document_id, task.lease, lease_s=LEASE_S
        )
        assert file
        scenes.stored(self.database, file)

    def _seconds_left(self, now: float, job_id: UUID) -> float | None:
        ages_s = {lease: now - begun_s for lease, begun_s in self._begun_s.items()}
        return estimates.seconds_left(self.database, self._limits, job_id, ages_s)

    def _outcomes(self) -> list[Outcome]:
        jobs = list(self._jobs.values())
        usual_s = statistics.fmean(self.latencies_s)
        usual = [job.usual(usual_s * self.slow.get(job.arrival.court, 1.0)) for job in jobs]
        comings_s = [job.arrival.at_s for job in jobs]
        return [
            # A turn is counted as what requests of its court take: who draws quick ones waits for
            # its turns as long as others.
            Outcome(
                job.arrival,
                job.end_s - job.arrival.at_s,
                max(alone_s(work, share), alone_s(job.work, share)),
                job.estimate(comings_s),
            )
            for job, work, share in zip(jobs, usual, shares(usual, self.room), strict=True)
        ]
