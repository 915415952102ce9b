"""Weighted fair queueing of slot-seconds, by client and then by job, under caps.

A job has a start tag: the slot-seconds that it was charged since it joined. Jobs with the same rate
in the fluid ideal (generalised processor sharing: Parekh and Gallager, 1993) form a flow. A flow
has a virtual time: the slot-seconds that each of its jobs would have received of all charges. The
next job is the one that is furthest behind the virtual time of its flow.

One virtual time for all would be enough if every job could use every slot. With limits for courts
and for jobs, limited jobs would be lifted to it at each choice, and weights would be lost.

A job gains no credit while it cannot run: it has no rate, and its tag is raised to the virtual time
of its flow, so its deficit is lost. A chosen job keeps a deficit of one allowance at most. If a job
has all the slots that it can use, and the fluid ideal gives it as many, it is not behind: it could
not have received more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from actors.scheduler.policy.fairness.flows import (
    Claimant,
    FlowGate,
    QueuedFlow,
    QueuedJob,
    new_flow,
)
from actors.scheduler.policy.fairness.max_min_rates import BATCH, TRACE, share_rates
from actors.scheduler.policy.fairness.tag_heap import TagHeap

# Rates are computed again after REFRESH_S, plus REFRESH_FLOW_S for each flow: the more flows there
# are, the less a change of one matters.
REFRESH_S = 0.02
REFRESH_FLOW_S = 0.0001
# How many steps of the computation a pass makes. A step has BATCH flows.
STEPS_OF_A_PASS = 4


class FairQueue:
    """All running jobs. A new job has neither credit nor debt."""

    def __init__(self) -> None:
        self._jobs: dict[UUID, QueuedJob] = {}
        self._flows: dict[Claimant, QueuedFlow] = {}
        self._gates: dict[tuple[bool, FlowGate], TagHeap[QueuedFlow]] = {}
        # By class (BULK or not): the sum of the rates of all jobs, and the slot-seconds charged so
        # far for each slot of that sum.
        self._all_rates = {False: 0.0, True: 0.0}
        self._work = {False: 0.0, True: 0.0}
        # The largest deficit that a chosen job keeps: one slice for each slot, and one more.
        self._allowance_s = 0.0
        self._refresh_at = float("-inf")
        self._refreshing: Iterator[None] | None = None

    def put(self, job_id: UUID, claimant: Claimant) -> None:
        """Add a job that may run, or change its values."""
        job = self._jobs.get(job_id)
        if job is None:
            job = self._jobs[job_id] = QueuedJob(job_id)
        if job.claimant == claimant:
            return
        key = claimant._replace(may_begin=True)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = new_flow(claimant)
            flow.work = self._work[flow.is_bulk]
            if job.flow is not None and job.flow.is_bulk is flow.is_bulk:
                flow.rate = min(job.flow.rate, flow.cap)
        self._move(job, flow)
        job.claimant = claimant
        if claimant.may_begin:
            flow.queue.put(job, job.tag)
        else:
            flow.queue.remove(job)
            self._forgive(job, flow)
        self._sort(flow)

    def suspend(self, job_id: UUID) -> None:
        """Record that a job may not run for now.

        An excess stays charged. A deficit is lost, because the other jobs received that.
        """
        job = self._jobs.get(job_id)
        if job is not None and job.flow is not None:
            flow = job.flow
            self._move(job, None)
            if job.tag < 0:
                self._advance(flow.is_bulk, -job.tag)
                job.tag = 0.0
            self._sort(flow)

    def remove(self, job_id: UUID) -> None:
        """Forget a job."""
        self.suspend(job_id)
        self._jobs.pop(job_id, None)

    def gates(self) -> set[FlowGate]:
        """Return the gates of waiting jobs."""
        return {gate for (_, gate), flows in self._gates.items() if flows}

    def first(self, open_gates: Collection[FlowGate]) -> UUID | None:
        """Return the next job, BULK last; None if no job waits at an open gate."""
        for is_bulk in (False, True):
            least: tuple[float, QueuedFlow] | None = None
            for (of_bulk, gate), flows in self._gates.items():
                if of_bulk is is_bulk and gate in open_gates and (first := flows.first()):
                    least = first if least is None or first[0] < least[0] else least
            if least is not None and (head := least[1].queue.first()):
                return head[1].job_id
        return None

    def begin(self, job_id: UUID, slot_s: float) -> None:
        """Charge the job that `first` returned. It loses any deficit above the allowance."""
        job = self._jobs[job_id]
        if job.flow is not None:
            self._lose(job, job.flow, self.behind_s(job_id) - self._allowance_s)
        self.charge(job_id, slot_s)

    def charge(self, job_id: UUID, slot_s: float, *, was_bulk: bool | None = None) -> None:
        """Charge a job. A negative charge gives slot-seconds back.

        `was_bulk`: the class of a job that may have ended since; None if such a job is not charged.
        """
        job = self._jobs.get(job_id)
        if job is None:
            # The ended job used the slot-seconds, so the virtual times of the others advance.
            if was_bulk is not None:
                self._advance(was_bulk, slot_s)
            return
        job.tag += slot_s
        if job.flow is not None:
            self._advance(job.flow.is_bulk, slot_s)
            if job in job.flow.queue:
                job.flow.queue.put(job, job.tag)
            self._sort(job.flow)

    def behind_s(self, job_id: UUID) -> float:
        """Return the slot-seconds that a job is behind the fluid ideal; negative if ahead.

        Another thread may call this. It then gets an approximate value.
        """
        job = self._jobs.get(job_id)
        if job is None:
            return 0.0
        flow = job.flow
        return (self._virtual_time(flow) if flow else 0.0) - job.tag

    def slots_of(self, job_id: UUID) -> float | None:
        """Return the slots that the fluid ideal gives a job now; None if unknown."""
        job = self._jobs.get(job_id)
        if job is None or job.flow is None or not job.flow.is_rated:
            return None
        return job.flow.rate

    def refresh(
        self,
        now: float,
        *,
        at_once: float,
        per_court: int,
        closed_courts: Collection[str],
        dearest_s: float,
    ) -> None:
        """Compute the rates again if they are due. With many flows, a pass computes only a part.

        `dearest_s`: the most slot-seconds that a slice is expected to take.
        """
        self._allowance_s = (at_once + 1) * dearest_s
        if self._refreshing is None:
            if now < self._refresh_at:
                return
            self._refresh_at = now + REFRESH_S + REFRESH_FLOW_S * len(self._flows)
            self._refreshing = self._refresh(at_once, per_court, set(closed_courts))
        for _ in range(STEPS_OF_A_PASS):
            if next(self._refreshing, self) is self:
                self._refreshing = None
                return

    def _lose(self, job: QueuedJob, flow: QueuedFlow, lost_s: float) -> None:
        """Raise the tag of a job by the deficit that it loses: the other jobs received that."""
        all_rates = self._all_rates[flow.is_bulk]
        others = 1 - flow.rate / all_rates if all_rates else 0.0
        if lost_s <= 0:
            return
        if others > TRACE:
            # This also advances the virtual time of the job's own flow, hence the division.
            lost_s /= others
            self._advance(flow.is_bulk, lost_s)
        job.tag += lost_s

    def _forgive(self, job: QueuedJob, flow: QueuedFlow) -> None:
        """Clear the deficit of a job if the fluid ideal gives it all the slots that it can use."""
        if flow.rate >= flow.cap - TRACE:
            self._lose(job, flow, self._virtual_time(flow) - job.tag)

    def _advance(self, is_bulk: bool, slot_s: float) -> None:
        """Advance the virtual times of all flows by a charge."""
        if all_rates := self._all_rates[is_bulk]:
            self._work[is_bulk] += slot_s / all_rates

    def _refresh(
        self, at_once: float, per_court: int, closed_courts: Collection[str]
    ) -> Iterator[None]:
        flows = list(self._flows.items())
        yield from share_rates(
            (flow for _, flow in flows),
            at_once=at_once,
            per_court=per_court,
            closed_courts=closed_courts,
        )
        for number, (key, flow) in enumerate(flows, start=1):
            self._set_rate(flow, flow.next_rate)
            if not flow.jobs:
                del self._flows[key]
            elif flow.queue:
                self._sort(flow)
            if not number % BATCH:
                yield

    def _set_rate(self, flow: QueuedFlow, rate: float) -> None:
        flow.virtual_time, flow.work = self._virtual_time(flow), self._work[flow.is_bulk]
        self._add_rates(flow, -flow.jobs)
        flow.rate, flow.is_rated = rate, True
        self._add_rates(flow, flow.jobs)

    def _add_rates(self, flow: QueuedFlow, jobs: int) -> None:
        rates = self._all_rates[flow.is_bulk] + jobs * flow.rate
        self._all_rates[flow.is_bulk] = rates if rates > TRACE else 0.0

    def _virtual_time(self, flow: QueuedFlow) -> float:
        return flow.virtual_time + flow.rate * (self._work[flow.is_bulk] - flow.work)

    def _move(self, job: QueuedJob, flow: QueuedFlow | None) -> None:
        """Move a job to a flow, and its tag to that flow's virtual time."""
        if job.flow is flow:
            return
        if job.flow is not None:
            job.tag -= self._virtual_time(job.flow)
            job.flow.queue.remove(job)
            job.flow.jobs -= 1
            self._add_rates(job.flow, -1)
            self._sort(job.flow)
        if flow is not None:
            job.tag += self._virtual_time(flow)
            flow.jobs += 1
            self._add_rates(flow, 1)
        job.flow, job.claimant = flow, None

    def _sort(self, flow: QueuedFlow) -> None:
        """Sort a flow at its gate by how far its first job is behind."""
        key = (flow.is_bulk, flow.gate)
        flows = self._gates.get(key)
        if flows is None:
            flows = self._gates[key] = TagHeap()
        first = flow.queue.first()
        if first is None:
            flows.remove(flow)
        else:
            flows.put(flow, first[0] - self._virtual_time(flow))
