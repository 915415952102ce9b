"""Forecast the service order and the end of each job, if the portal continues as it did.

Pure: no SQL, no clock. The model treats slots as a fluid that the running jobs share by the rule of
the queue: fairly among clients, by weight among the jobs of each client, and BULK gets the rest.
Between two ends of jobs the shares stay the same, so that the number of steps is the number of
ends.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

from storage.estimates.request_times import UNMEASURED_S
from storage.portal.slots import Limits

# The assumed number of documents of a case that is not listed yet.
ASSUMED_DOCUMENTS = 20
# A step is over when this part of all jobs has ended, or this part of all slots is free again.
STEP = 0.02
# The part of a current request that is over: half if all requests took the same time, none if the
# remaining time did not depend on the elapsed time. Courts lie between the two.
ALREADY_DONE = 0.25
# Several concurrent requests do not end together: of n requests the last takes 1 + LAST x log(n)
# times the mean. 0.8 if they are distributed exponentially; less for log-normal ones.
LAST = 0.6
# A share of slots below this counts as none.
TRACE = 1e-9


class RunningJob(NamedTuple):
    """A running job and its position in the queue.

    `documents_left`: documents that still need a portal request; None before the listing.
    `virtual_time`: that of the job; the smallest is next, among the jobs of a client and among
    clients.
    """

    job_id: UUID
    client: str
    court: str
    is_bulk: bool
    weight: float
    virtual_time: float
    documents_left: int | None
    requests_under_way: int


class Forecast(NamedTuple):
    """The forecast of a job.

    `queue_position`: 1 is served next; None while the job is served or needs no portal request.
    `seconds_left`: None if the job does not end under the current conditions.
    """

    queue_position: int | None
    seconds_left: float | None


def forecast(
    jobs: Sequence[RunningJob],
    limits: Limits,
    request_s: Mapping[str, float],
    *,
    held_courts: Collection[str] = (),
    assumed_documents: int = ASSUMED_DOCUMENTS,
) -> dict[UUID, Forecast]:
    """Return the forecast of each of `jobs`, which are all running jobs; of equals the first is
    next.

    `request_s`: seconds that a request takes, by court. No request is sent to `held_courts`.
    """
    places = _positions(jobs, request_s, held_courts)
    seconds = _ends(jobs, limits, request_s, held_courts, assumed_documents)
    return {j.job_id: Forecast(places.get(j.job_id), seconds.get(j.job_id)) for j in jobs}


# Queue position


def _positions(
    jobs: Iterable[RunningJob], request_s: Mapping[str, float], held: Collection[str]
) -> dict[UUID, int]:
    waiting = [j for j in jobs if not j.requests_under_way and j.documents_left != 0]
    places: dict[UUID, int] = {}
    ahead = 0
    for is_bulk in (False, True):
        for job in _service_order([j for j in waiting if j.is_bulk == is_bulk], request_s):
            places[job.job_id] = ahead + 1
            ahead += job.court not in held
    return places


def _service_order(
    waiting: Iterable[RunningJob], request_s: Mapping[str, float]
) -> Iterable[RunningJob]:
    """Return the jobs in service order. Each service charges the client one request's time."""
    queues: dict[str, list[RunningJob]] = defaultdict(list)
    for job in waiting:
        queues[job.client].append(job)
    for queue in queues.values():
        queue.sort(key=lambda job: job.virtual_time)
        queue.reverse()  # the last is next
    clients = [(q[-1].virtual_time, q[-1].virtual_time, client) for client, q in queues.items()]
    heapq.heapify(clients)
    while clients:
        had, _, client = heapq.heappop(clients)
        queue = queues[client]
        job = queue.pop()
        yield job
        if queue:
            had += request_s.get(job.court, UNMEASURED_S)
            heapq.heappush(clients, (had, queue[-1].virtual_time, client))


# End time


class _Group:
    """Jobs of a client with the same share each, the one with the least work last.

    `had`: slots x seconds that each job has received; `share`: the slots of each job.
    """

    __slots__ = ("cap", "client", "court", "had", "is_bulk", "request_s", "share", "weight", "work")

    def __init__(self, job: RunningJob, cap: float, request_s: float) -> None:
        self.client = job.client
        self.court = job.court
        self.is_bulk = job.is_bulk
        self.weight = job.weight
        self.cap = cap
        self.request_s = request_s
        self.work: list[tuple[float, UUID]] = []
        self.had = 0.0
        self.share = 0.0

    def next_end(self) -> float:
        """Return the seconds until the next of its jobs ends."""
        return max(0.0, self.work[-1][0] - self.had) / self.share

    def last_requests_s(self) -> float:
        """Return how much longer than the mean a job's last request takes, as an addition.

        The fluid model has only the mean.
        """
        return (_last_of(self.share) - 1) * self.request_s


def _last_of(requests: float) -> float:
    """Return how many times the mean it takes until the last of concurrent requests ends."""
    return 1 + LAST * math.log(max(1.0, requests))


def _ends(
    jobs: Sequence[RunningJob],
    limits: Limits,
    request_s: Mapping[str, float],
    held: Collection[str],
    assumed_documents: int,
) -> dict[UUID, float]:
    ends = {j.job_id: _under_way_s(j, request_s) for j in jobs if _wants_no_more(j)}
    groups = _groups(
        [j for j in jobs if j.job_id not in ends and j.court not in held],
        limits,
        request_s,
        assumed_documents,
    )
    batch = max(1, math.ceil(STEP * sum(len(g.work) for g in groups)))
    now = 0.0
    while groups:
        _share(groups, limits)
        served = [g for g in groups if g.share > TRACE]
        if not served:
            break
        now += _step(served, batch, STEP * limits.at_once, now, ends)
        groups = [g for g in groups if g.work]
    return ends


def _wants_no_more(job: RunningJob) -> bool:
    """Return whether every remaining portal request of the job is under way already."""
    return job.documents_left is not None and job.documents_left <= job.requests_under_way


def _under_way_s(job: RunningJob, request_s: Mapping[str, float]) -> float:
    if not job.requests_under_way or not job.documents_left:
        return 0.0
    rest = (1 - ALREADY_DONE) * request_s.get(job.court, UNMEASURED_S)
    return rest * _last_of(job.requests_under_way)


def _groups(
    jobs: Iterable[RunningJob],
    limits: Limits,
    request_s: Mapping[str, float],
    assumed_documents: int,
) -> list[_Group]:
    groups: dict[tuple[str, str, bool, float, float], _Group] = {}
    for job in jobs:
        # A job that is not listed requests its listing first.
        requests = 1 + assumed_documents if job.documents_left is None else job.documents_left
        cap = float(min(limits.lanes, requests))
        key = (job.client, job.court, job.is_bulk, job.weight, cap)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(job, cap, request_s.get(job.court, UNMEASURED_S))
        work = requests - ALREADY_DONE * min(job.requests_under_way, requests)
        group.work.append((work * group.request_s, job.job_id))
    for group in groups.values():
        # The last one ends next; of equals it is the one that came first.
        group.work.reverse()
        group.work.sort(key=itemgetter(0), reverse=True)
    return list(groups.values())


def _step(
    served: Sequence[_Group], batch: int, freed_most: float, now: float, ends: dict[UUID, float]
) -> float:
    """End the jobs that are next to end, and advance the time. Return the seconds."""
    heap = [(group.next_end(), index) for index, group in enumerate(served)]
    heapq.heapify(heap)
    passed, freed = 0.0, 0.0
    while heap and batch > 0 and freed <= freed_most:
        passed, index = heap[0]
        group = served[index]
        ends[group.work.pop()[1]] = now + passed + group.last_requests_s()
        freed += group.share
        batch -= 1
        if group.work:
            heapq.heapreplace(heap, (group.next_end(), index))
        else:
            heapq.heappop(heap)
    for group in served:
        group.had += passed * group.share
    return passed


def _share(groups: Sequence[_Group], limits: Limits) -> None:
    """Set the slots that each job of each group has until the next job ends."""
    left = float(limits.at_once)
    courts = {group.court: float(limits.per_court) for group in groups}
    for is_bulk in (False, True):
        left = _fill([g for g in groups if g.is_bulk == is_bulk], left, courts)
    if limits.per_minute is None:
        return
    flow = 60 * sum(len(g.work) * g.share / g.request_s for g in groups)
    if flow > limits.per_minute:
        for group in groups:
            group.share *= limits.per_minute / flow


def _fill(groups: Sequence[_Group], left: float, courts: dict[str, float]) -> float:
    """Share slots max-min fair and return the slots left over.

    All clients' shares grow alike until a limit stops some of them. `courts`: the slots that each
    court has left; the function reduces them.
    """
    for group in groups:
        group.share = 0.0
    growing = [g for g in groups if courts[g.court] > TRACE]
    while growing and left > TRACE:
        weights: dict[str, float] = defaultdict(float)
        for g in growing:
            weights[g.client] += len(g.work) * g.weight
        slopes: dict[str, float] = defaultdict(float)
        most = left / len(weights)
        for g in growing:
            slope = g.weight / weights[g.client]
            slopes[g.court] += len(g.work) * slope
            if g.cap - g.share < most * slope:
                most = (g.cap - g.share) / slope
        for court, slope in slopes.items():
            most = min(most, courts[court] / slope)
        for g in growing:
            g.share += most * g.weight / weights[g.client]
        for court, slope in slopes.items():
            courts[court] -= most * slope
        left -= most * len(weights)
        growing = [g for g in growing if g.cap - g.share > TRACE and courts[g.court] > TRACE]
    return left
