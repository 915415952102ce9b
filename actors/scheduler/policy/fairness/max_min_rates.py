"""The rates of the fluid ideal: max-min fair by client, then by job for its weight, under caps.

Progressive filling (Bertsekas and Gallager, 1987): the shares of all clients grow alike. The share
of a client is divided among its growing jobs by weight. A job stops when it has all the slots that
it can use, or when its court is full. The remaining slots go to BULK jobs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

# A number of slots below this counts as none.
TRACE = 1e-9
# Flows between two points at which the caller may pause.
BATCH = 500


@dataclass(slots=True, eq=False)
class Flow:
    """Jobs with the same rate, because their values are equal.

    Attributes:
        cap: slots that each of the jobs can use at once.
        jobs: their number now.
        counted_jobs: their number when the present computation began.
        next_rate: slots that each of them should have; `share_rates` sets it.
    """

    client: str
    court: str
    weight: float
    is_bulk: bool
    cap: float
    jobs: int = 0
    counted_jobs: int = 0
    next_rate: float = 0.0


def share_rates(
    flows: Iterable[Flow], *, at_once: float, per_court: int, closed_courts: Collection[str] = ()
) -> Iterator[None]:
    """Set `next_rate` of all flows, in steps. Jobs of closed courts have none.

    Jobs may be added and removed between two steps. The numbers at the beginning count.
    """
    growing: dict[bool, list[Flow]] = {False: [], True: []}
    courts: dict[str, float] = {}
    for number, flow in enumerate(flows, start=1):
        if not number % BATCH:
            yield
        flow.next_rate, flow.counted_jobs = 0.0, flow.jobs
        if flow.jobs and flow.court not in closed_courts:
            growing[flow.is_bulk].append(flow)
            courts[flow.court] = float(per_court)
    filling = _Filling(at_once, courts)
    yield from filling.fill(growing[False])
    if filling.left <= TRACE:
        # No slot is left for BULK jobs: their rates are computed as if there were no other jobs.
        filling = _Filling(at_once, dict.fromkeys(courts, float(per_court)))
    yield from filling.fill(growing[True])


class _Filling:
    """The slots that are being distributed: in all, and by court."""

    def __init__(self, left: float, courts: dict[str, float]) -> None:
        self.left = left
        self._courts = courts

    def fill(self, flows: list[Flow]) -> Iterator[None]:
        """Let the rates of these flows grow until limits stop them."""
        growing = [flow for flow in flows if self._courts[flow.court] > TRACE]
        while growing and self.left > TRACE:
            weights: dict[str, float] = defaultdict(float)
            for number, flow in enumerate(growing, start=1):
                if not number % BATCH:
                    yield
                weights[flow.client] += flow.counted_jobs * flow.weight
            slopes: dict[str, float] = defaultdict(float)
            step = self.left / len(weights)
            for number, flow in enumerate(growing, start=1):
                if not number % BATCH:
                    yield
                slope = flow.weight / weights[flow.client]
                slopes[flow.court] += flow.counted_jobs * slope
                if flow.cap - flow.next_rate < step * slope:
                    step = (flow.cap - flow.next_rate) / slope
            for court, slope in slopes.items():
                step = min(step, self._courts[court] / slope)
            for number, flow in enumerate(growing, start=1):
                if not number % BATCH:
                    yield
                flow.next_rate += step * flow.weight / weights[flow.client]
            for court, slope in slopes.items():
                self._courts[court] -= step * slope
            self.left -= step * len(weights)
            growing = [flow for flow in growing if self._may_grow(flow)]

    def _may_grow(self, flow: Flow) -> bool:
        return flow.cap - flow.next_rate > TRACE and self._courts[flow.court] > TRACE
