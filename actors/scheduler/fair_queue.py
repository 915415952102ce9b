"""Weighted fair queueing of slot-seconds, by client and then by job.

Start-time fair queueing (Goyal, Vin and Cheng, 1996) at two levels. Each client and each job has a
start tag: the slot-seconds that it was charged, a job's divided by its weight. The least start tag
is chosen. Virtual time is the start tag chosen last; a chosen tag is lifted to it, so that what
could not run meanwhile gains no credit.

Jobs are queued by gate: the queue chooses among jobs whose gate is open. A gate is a court and a
kind of request.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from actors.scheduler.tag_heap import TagHeap

Gate = TypeVar("Gate", bound=Hashable)


@dataclass(slots=True, eq=False)
class _Job(Generic[Gate]):
    client: _Client[Gate]
    job_id: UUID
    weight: float
    tag: float
    gate: Gate | None = None  # None while the job may not run


@dataclass(slots=True, eq=False)
class _Client(Generic[Gate]):
    name: str
    tag: float
    virtual_time: float = 0.0
    jobs: int = 0
    queues: dict[Gate, TagHeap[_Job[Gate]]] = field(default_factory=dict)


class FairQueue(Generic[Gate]):
    """The jobs of one class of priorities. All tags begin at the virtual time."""

    def __init__(self) -> None:
        self._jobs: dict[UUID, _Job[Gate]] = {}
        self._clients: dict[str, _Client[Gate]] = {}
        self._waiting: dict[Gate, TagHeap[_Client[Gate]]] = {}
        self._virtual_time = 0.0

    def __contains__(self, job_id: UUID) -> bool:
        return job_id in self._jobs

    def add(self, job_id: UUID, client: str, weight: float) -> None:
        """Add a job that may not run yet, or change its weight."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.weight = weight
            return
        owner = self._clients.get(client)
        if owner is None:
            owner = self._clients[client] = _Client(client, self._virtual_time)
        owner.jobs += 1
        self._jobs[job_id] = _Job(owner, job_id, weight, owner.virtual_time)

    def remove(self, job_id: UUID) -> None:
        """Forget a job. Its client keeps its tag."""
        if job_id in self._jobs:
            self.suspend(job_id)
            self._jobs.pop(job_id).client.jobs -= 1

    def resume(self, job_id: UUID, gate: Gate) -> None:
        """Let the job be chosen while `gate` is open."""
        job = self._jobs[job_id]
        if job.gate != gate:
            self.suspend(job_id)
            job.gate = gate
            queue = job.client.queues.setdefault(gate, TagHeap())
            queue.put(job, job.tag)
            if len(queue) == 1:
                self._waiting.setdefault(gate, TagHeap()).put(job.client, job.client.tag)

    def suspend(self, job_id: UUID) -> None:
        """Let the job not be chosen until it is resumed."""
        job = self._jobs[job_id]
        if job.gate is not None:
            queue = job.client.queues[job.gate]
            queue.remove(job)
            if not queue:
                del job.client.queues[job.gate]
                self._waiting[job.gate].remove(job.client)
            job.gate = None

    def gates(self) -> Collection[Gate]:
        """Return the gates that jobs wait at."""
        return [gate for gate, clients in self._waiting.items() if clients]

    def first(self, open_gates: Collection[Gate]) -> UUID | None:
        """Return the job that is next; None if no job waits at an open gate."""
        client = _least(self._waiting, open_gates)
        job = _least(client.queues, open_gates) if client else None
        return job.job_id if job else None

    def begin(self, job_id: UUID, slot_s: float) -> None:
        """Charge the job that was first: its tag, and its client's, are lifted before."""
        job = self._jobs[job_id]
        client = job.client
        self._virtual_time = max(client.tag, self._virtual_time)
        self._set_client_tag(client, self._virtual_time + slot_s)
        client.virtual_time = max(job.tag, client.virtual_time)
        self._set_job_tag(job, client.virtual_time + slot_s / job.weight)

    def charge(self, job_id: UUID, client: str, slot_s: float) -> None:
        """Charge a job and its client; a negative charge is returned. Either may be gone."""
        if owner := self._clients.get(client):
            self._set_client_tag(owner, owner.tag + slot_s)
        if job := self._jobs.get(job_id):
            self._set_job_tag(job, job.tag + slot_s / job.weight)

    def forget_idle_clients(self) -> None:
        """Forget clients without jobs, but for those that had more than the others."""
        for client in list(self._clients.values()):
            if not client.jobs and client.tag <= self._virtual_time:
                del self._clients[client.name]

    def _set_client_tag(self, client: _Client[Gate], tag: float) -> None:
        if tag != client.tag:
            client.tag = tag
            for gate in client.queues:
                self._waiting[gate].put(client, tag)

    def _set_job_tag(self, job: _Job[Gate], tag: float) -> None:
        if tag != job.tag:
            job.tag = tag
            if job.gate is not None:
                job.client.queues[job.gate].put(job, tag)


Item = TypeVar("Item")


def _least(heaps: dict[Gate, TagHeap[Item]], open_gates: Collection[Gate]) -> Item | None:
    """Return the item with the least tag of all heaps whose gate is open."""
    least: tuple[float, Item] | None = None
    for gate, heap in heaps.items():
        if gate in open_gates:
            first = heap.first()
            if first is not None and (least is None or first[0] < least[0]):
                least = first
    return None if least is None else least[1]
