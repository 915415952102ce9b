"""The jobs of the fair queue, and their flows: jobs with the same rate in the fluid ideal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from actors.scheduler.policy.fairness.max_min_rates import Flow
from actors.scheduler.policy.fairness.tag_heap import TagHeap


class FlowGate(NamedTuple):
    """A court, and whether listings or files are requested there: each may be closed alone."""

    court: str
    is_listing: bool


class Claimant(NamedTuple):
    """The queue's values of a job that may run.

    `cap`: how many slots it can use at once; `may_begin`: whether it can use one more now.
    """

    client: str
    weight: float
    is_bulk: bool
    gate: FlowGate
    cap: int
    may_begin: bool


@dataclass(slots=True, eq=False)
class QueuedJob:
    """A job in the fair queue.

    `tag`: in a flow, comparable with its virtual time; else the slot-seconds beyond its fair share.
    """

    job_id: UUID
    tag: float = 0.0
    claimant: Claimant | None = None
    flow: QueuedFlow | None = None


@dataclass(slots=True, eq=False)
class QueuedFlow(Flow):
    """A flow in the fair queue, with its virtual time and the jobs that may begin a request."""

    is_listing: bool = False
    rate: float = 0.0
    # Whether `rate` is the flow's own. Before, it is the rate of another flow, or zero.
    is_rated: bool = False
    # The virtual time in slot-seconds when it was last set. `work` is the class's total charge for
    # each slot of rate at that moment.
    virtual_time: float = 0.0
    work: float = 0.0
    queue: TagHeap[QueuedJob] = field(default_factory=TagHeap)

    @property
    def gate(self) -> FlowGate:
        """Return the gate of its jobs."""
        return FlowGate(self.court, self.is_listing)


def new_flow(claimant: Claimant) -> QueuedFlow:
    """Return the flow of a job, without jobs."""
    return QueuedFlow(
        client=claimant.client,
        court=claimant.gate.court,
        weight=claimant.weight,
        is_bulk=claimant.is_bulk,
        cap=float(claimant.cap),
        is_listing=claimant.gate.is_listing,
    )
