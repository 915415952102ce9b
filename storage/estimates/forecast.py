"""Place and time: who is served next, and when each job will end, if the portal goes on as it did.

Pure: no SQL, no clock. Slots are taken for a fluid that the running jobs share by the rule of the
queue: fairly among clients, by weight among the jobs of each, BULK what is left. From one end of a
job to the next the shares stay the same, so that time goes forward in as many steps as jobs end.
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

# What is taken for a case that is not listed yet.
ASSUMED_DOCUMENTS = 20
# A step is over when this part of all jobs has ended, or this part of all slots has come free.
STEP = 0.02
# How much of a request under way is over: half if all took the same time, none if how long one
# will take did not depend on how long it has taken. Courts are between the two.
ALREADY_DONE = 0.25
# Several requests that run at once do not end together: of n the last takes 1 + LAST x log(n)
# times the mean. 0.8 if they are distributed exponentially; for log-normal ones less.
LAST = 0.6
# Of slots; less is nothing.
TRACE = 1e-9


class RunningJob(NamedTuple):
    """A job that has not ended, and where it stands.

    `documents_left`: those that the portal is still to be asked for; None before the listing.
    `turn_pass`, `client_pass`: what it and its client have had already; the smallest is next.
    """

    job_id: UUID
    client: str
    court: str
    is_bulk: bool
    weight: float
    turn_pass: float
    client_pass: float
    documents_left: int | None
    requests_under_way: int


class Forecast(NamedTuple):
    """What lies ahead of a job.

    `queue_position`: 1 is served next; None while it is served or wants nothing of the portal.
    `seconds_left`: None when it does not end as things are.
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
    """What lies ahead of each of `jobs`, which are all that run; of equals the first is next.

    `request_s`: seconds that a request takes, by court. Nothing is asked of `held_courts`.
    """
    places = _positions(jobs, request_s, held_courts)
    seconds = _ends(jobs, limits, request_s, held_courts, assumed_documents)
    return {j.job_id: Forecast(places.get(j.job_id), seconds.get(j.job_id)) for j in jobs}


# Place


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
    """The jobs in the order of their first turns: each is a request's time for its client."""
    queues: dict[str, list[RunningJob]] = defaultdict(list)
    for job in waiting:
        queues[job.client].append(job)
    for queue in queues.values():
        queue.sort(key=lambda job: job.turn_pass)
        queue.reverse()  # the last is next
    clients = [(q[-1].client_pass, q[-1].turn_pass, client) for client, q in queues.items()]
    heapq.heapify(clients)
    while clients:
        had, _, client = heapq.heappop(clients)
        queue = queues[client]
        job = queue.pop()
        yield job
        if queue:
            had += request_s.get(job.court, UNMEASURED_S)
            heapq.heappush(clients, (had, queue[-1].turn_pass, client))


# Time


class _Group:
    """Jobs of a client that get the same share each, the one with the least work last.

    `had`: slots x seconds that each has had; `share`: the slots that each has.
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
        """Seconds until the next of its jobs ends."""
        return max(0.0, self.work[-1][0] - self.had) / self.share

    def last_requests_s(self) -> float:
        """What the last of a job's requests takes longer than the mean, which the fluid knows."""
        return (_last_of(self.share) - 1) * self.request_s


def _last_of(requests: float) -> float:
    """How many times the mean it takes until the last of some requests at once is over."""
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
    """Whether everything that it wants of the portal is under way already."""
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
        # A job that is not listed asks for its listing first.
        requests = 1 + assumed_documents if job.documents_left is None else job.documents_left
        cap = float(min(limits.lanes, requests))
        key = (job.client, job.court, job.is_bulk, job.weight, cap)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(job, cap, request_s.get(job.court, UNMEASURED_S))
        work = requests - ALREADY_DONE * min(job.requests_under_way, requests)
        group.work.append((work * group.request_s, job.job_id))
    for group in groups.values():
        # The last ends next; of equals it is the one that came first.
        group.work.reverse()
        group.work.sort(key=itemgetter(0), reverse=True)
    return list(groups.values())


def _step(
    served: Sequence[_Group], batch: int, freed_most: float, now: float, ends: dict[UUID, float]
) -> float:
    """Ends the jobs that are next to end, and lets that time pass; how much it is, in seconds."""
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
    """Gives each group the slots that each of its jobs has, until the next job ends."""
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
    """Max-min fair: all clients' shares grow alike until a limit stops some; the slots left over.

    `courts`: the slots that each court has left, lessened here.
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
