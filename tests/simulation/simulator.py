"""A discrete-event simulation of the scheduler, the workers and the portal, on a virtual clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from actors.hints.hints import PROPOSAL_AGE_S, Ended, Hint, JobEnded, SliceBegun, SlotFreed
from actors.scheduler.policy.dispatcher import Group, Plan, ProposalMessage, plan
from actors.scheduler.policy.scheduler_state import SchedulerState
from storage.portal.slots import Limits
from storage.scheduling.row_values import CourtRow
from tests.simulation.simulated_rows import Arrival, SimulatedJob, SimulatedRows

Reading = TypeVar("Reading")


@dataclass(frozen=True)
class SimulatedFaults:
    """Faults as probabilities; `hop_s`: the longest time that a message takes."""

    hint_lost: float = 0.0
    hint_doubled: float = 0.0
    message_lost: float = 0.0
    message_doubled: float = 0.0
    row_locked: float = 0.0
    request_failed: float = 0.0
    spooled: float = 0.0
    restarts: tuple[float, ...] = ()
    hop_s: float = 0.0


NO_FAULTS = SimulatedFaults()


class SchedulerSimulation:
    """One run. After it: when each job ended, and the slots that each held over time."""

    def __init__(
        self,
        limits: Limits,
        *,
        seed: int = 1,
        threads: int = 64,
        faults: SimulatedFaults = NO_FAULTS,
    ) -> None:
        self.dice = random.Random(seed)
        self.world = SimulatedRows(limits, self.dice, threads=threads)
        self.faults = faults
        self.now = 0.0
        self.state = SchedulerState(limits)
        self.jobs: list[SimulatedJob] = []
        self.ended_at: dict[UUID, float] = {}
        # For each job: (time, slots that it holds from then on).
        self.held: dict[UUID, list[tuple[float, int]]] = defaultdict(list)
        self.began: list[tuple[float, UUID]] = []
        self.on_pass: Callable[[Plan], None] = lambda _: None
        self.on_hint: Callable[[Hint], None] = lambda _: None
        self.passes = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queue: list[tuple[float, UUID, ProposalMessage]] = []
        self._busy_threads = 0
        self._next_pass: float | None = None
        self._after: UUID | None = None
        self._to_come = 0

    def at(self, time: float, event: Callable[[], None]) -> None:
        """Call an action at a time."""
        heapq.heappush(self._events, (max(time, self.now), next(self._order), event))

    def arrive(self, arrival: Arrival, case: str | None = None) -> None:
        """Let a job arrive."""

        def come() -> None:
            job = self.world.add(arrival, self.now, case)
            self.jobs.append(job)
            self._to_come -= 1
            self._hint(self.world.wanted(job, self.now))

        self._to_come += 1
        self.at(arrival.at_s, come)

    def set_court(self, court: str, request_s: float) -> None:
        """Set the measured request time of a court."""
        self.world.courts[court] = CourtRow(court, request_s, measured_requests=1_000)

    def run(self, until: float = 1e6) -> None:
        """Advance the time until all jobs have ended."""
        self.at(self.now, self._read_every_second)
        self.at(self.now, self._read_portions)
        for restart in self.faults.restarts:
            self.at(restart, self._restart)
        while self._events[0][0] <= until and (self._to_come or self.world.jobs):
            self.now, _, event = heapq.heappop(self._events)
            event()

    # The scheduler.

    def _restart(self) -> None:
        self.state = SchedulerState(self.world.limits)
        self._after = None

    def _read_every_second(self) -> None:
        self._read(self.world.read_portal(self.now), self.state.read_portal)
        self._read(self.world.read_recent(self.now), self.state.read_jobs)
        self.at(self.now + 1, self._read_every_second)

    def _read_portions(self) -> None:
        reading = self.world.read_jobs(self.now, self._after)
        self._after = reading.up_to
        self._read(reading, self.state.read_jobs)
        self.at(self.now + 0.5, self._read_portions)

    def _read(self, reading: Reading, take: Callable[[Reading, float], None]) -> None:
        def merge() -> None:
            take(reading, self.now)
            self._pass_at(self.now)

        self.at(self.now + self._hop(), merge)

    def _hint(self, hint: Hint) -> None:
        def receive() -> None:
            self.on_hint(hint)
            self.state.receive(hint, self.now)
            self._pass_at(self.now)

        if self.dice.random() >= self.faults.hint_lost:
            self.at(self.now + self._hop(), receive)
        if self.dice.random() < self.faults.hint_doubled:
            self.at(self.now + self._hop() * 5, receive)

    def _pass_at(self, time: float) -> None:
        if self._next_pass is None or time < self._next_pass:
            self._next_pass = time
            self.at(time, self._pass)

    def _pass(self) -> None:
        if self._next_pass is None or self._next_pass > self.now:
            return
        self._next_pass = None
        self.passes += 1
        result = plan(self.state, self.now, self.world.new_id)
        self.on_pass(result)
        for group in result.groups:
            self._send(group)
        if result.next_at is not None:
            self._pass_at(result.next_at)

    # Workers.

    def _send(self, group: Group) -> None:
        for message in group.messages:
            if self.dice.random() < self.faults.message_lost:
                continue
            doubled = self.dice.random() < self.faults.message_doubled
            for _ in range(1 + doubled):
                item = (self.now, group.job_id, message)
                self.at(self.now + self._hop(), lambda item=item: self._enqueue(item))  # type: ignore[misc]

    def _enqueue(self, item: tuple[float, UUID, ProposalMessage]) -> None:
        self._queue.append(item)
        self._work()

    def _work(self) -> None:
        while self._queue and self._busy_threads < self.world.threads:
            sent_at, job_id, message = self._queue.pop(0)
            if self.now - sent_at <= PROPOSAL_AGE_S:
                self._claim(job_id, message)

    def _claim(self, job_id: UUID, message: ProposalMessage) -> None:
        job = self.world.jobs.get(job_id)
        if job and self.dice.random() < self.faults.row_locked:
            job.locked_until = self.now + self.dice.random() * 0.2
        answer = self.world.claim(message.proposal_id, job_id, message.requests, self.now)
        self._hint(answer)
        if isinstance(answer, SliceBegun) and job:
            self._begin(job, answer, goes_on=message.goes_on)

    def _begin(self, job: SimulatedJob, begun: SliceBegun, *, goes_on: bool = False) -> None:
        self.began.append((self.now, job.job_id))
        self._busy_threads += 1
        taken_at, at = self.now, self.now
        if self.world.interval_s:
            count = max(1, len(begun.documents))
            at = max(at, self.world.next_request_at - count * self.world.interval_s)
        for _ in range(max(1, len(begun.documents))):
            at += job.arrival.request_s[job.requests % len(job.arrival.request_s)]
            job.requests += 1
        self._count_slots(job)
        self.at(at, lambda: self._free(job, begun, taken_at, goes_on=goes_on))

    def _free(
        self, job: SimulatedJob, begun: SliceBegun, taken_at: float, *, goes_on: bool
    ) -> None:
        del self.world.slots[begun.token]
        self._count_slots(job)
        used_s = self.now - taken_at
        if not self.faults.hop_s:
            self._record(job, begun, used_s, goes_on=goes_on)
            return
        if begun.documents:
            self._hint(SlotFreed(begun.token, used_s))
        self.at(self.now + self._hop(), lambda: self._record(job, begun, used_s, goes_on=goes_on))

    def _record(
        self, job: SimulatedJob, begun: SliceBegun, used_s: float, *, goes_on: bool
    ) -> None:
        documents, failed, spooled = job.slices.pop(begun.token), None, []
        is_listing = not job.is_listed
        job.is_listed = True
        for document in documents:
            if self.dice.random() < self.faults.request_failed:
                failed = job.waiting[document] = self.now + self.dice.random() * 3
            elif self.dice.random() < self.faults.spooled:
                job.spooled.add(document)
                spooled.append(document)
                self.at(self.now + self.dice.random(), lambda d=document: self._store(job, d))  # type: ignore[misc]
        self._busy_threads -= 1
        first: Hint | None = None
        if goes_on and job.fresh:
            first = self.world.claim(None, job.job_id, 1, self.now)
        # As the workers do: the end of a job is hinted before that of its last slice.
        self._end_if_over(job)
        self._hint(Ended(job.job_id, begun.token, used_s, tuple(spooled), next_not_before=failed))
        if is_listing:
            self._share_listing(job)
        if isinstance(first, SliceBegun):
            self._hint(first)
            self._begin(job, first)
        self._work()

    def _share_listing(self, job: SimulatedJob) -> None:
        """List the case for every job that waits for it."""
        for other in self.jobs:
            if other.case == job.case and (other is job or not other.is_listed):
                other.is_listed = True
                if other.job_id in self.world.jobs:
                    self._hint(self.world.wanted(other, self.now))
                    self._end_if_over(other)

    def _store(self, job: SimulatedJob, document: UUID) -> None:
        job.spooled.discard(document)
        self._hint(Ended(job.job_id, document))
        self._end_if_over(job)

    def _end_if_over(self, job: SimulatedJob) -> None:
        if job.is_over and job.job_id in self.world.jobs:
            del self.world.jobs[job.job_id]
            self.ended_at[job.job_id] = self.now
            self._hint(JobEnded(job.job_id))

    def _count_slots(self, job: SimulatedJob) -> None:
        count = sum(slot.job_id == job.job_id for slot in self.world.slots.values())
        self.held[job.job_id].append((self.now, count))

    def _hop(self) -> float:
        return self.dice.random() * self.faults.hop_s
