"""The ideal that fairness is measured by: requests that could be cut as small as one likes.

At each moment the slots are filled in tiny steps, each for whoever has least: not BULK before
BULK, then by client, then by job for its weight, up to the lanes of a job and the limit of a court.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.slots import Room

STEP = 0.05
# Work that is less is over.
NOTHING_S = 1e-9
WEIGHTS = {"HIGH": 4.0, "NORMAL": 1.0, "BULK": 1.0}


@dataclass(frozen=True)
class Work:
    """A job as the portal sees it: when it comes, and how long each of its requests takes."""

    at_s: float
    client: str
    court: str
    priority: str
    listing_s: float
    documents_s: tuple[float, ...]


@dataclass(frozen=True)
class Share:
    """What a job would have: when it is listed and ended, in seconds since the start of all, and
    how many slots between the two, on average.
    """

    listed_s: float
    ended_s: float
    slots: float


def shares(works: Sequence[Work], room: Room) -> list[Share]:
    """What each of these jobs would have, with all the others."""
    left = [[work.listing_s, math.fsum(work.documents_s)] for work in works]
    ends = [[math.inf, math.inf] for _ in works]
    now = 0.0
    while waiting := [i for i, work in enumerate(works) if left[i][1] > NOTHING_S]:
        active = [i for i in waiting if works[i].at_s <= now]
        coming = min((works[i].at_s for i in waiting if works[i].at_s > now), default=math.inf)
        stage = {i: 0 if left[i][0] > NOTHING_S else 1 for i in active}
        rates = _rates(works, stage, room)
        over = min((now + left[i][stage[i]] / rate for i, rate in rates.items()), default=math.inf)
        step_s = min(over, coming) - now
        now += step_s
        for i, rate in rates.items():
            left[i][stage[i]] -= rate * step_s
            if left[i][stage[i]] <= NOTHING_S:
                left[i][stage[i]] = 0.0
                ends[i][stage[i]] = now
    return [
        Share(listed_s, ended_s, math.fsum(work.documents_s) / (ended_s - listed_s))
        for work, (listed_s, ended_s) in zip(works, ends, strict=True)
    ]


def _rates(works: Sequence[Work], stage: dict[int, int], room: Room) -> dict[int, float]:
    """How many slots each of these jobs has."""
    rates = dict.fromkeys(stage, 0.0)
    clients: dict[tuple[bool, str], float] = defaultdict(float)
    courts: dict[str, float] = defaultdict(float)
    open_jobs = set(stage)
    free = float(room.at_once)
    while free > STEP / 2 and open_jobs:
        i = min(open_jobs, key=lambda i: _turn(works[i], rates[i], clients))
        work = works[i]
        lanes = min(room.lanes, len(work.documents_s)) if stage[i] else 1
        if rates[i] + STEP / 2 > lanes or courts[work.court] + STEP / 2 > room.per_court:
            open_jobs.discard(i)
            continue
        rates[i] += STEP
        clients[work.priority == "BULK", work.client] += STEP
        courts[work.court] += STEP
        free -= STEP
    return {i: rate for i, rate in rates.items() if rate}


def _turn(
    work: Work, rate: float, clients: dict[tuple[bool, str], float]
) -> tuple[bool, float, float, float]:
    is_bulk = work.priority == "BULK"
    return is_bulk, clients[is_bulk, work.client], rate / WEIGHTS[work.priority], work.at_s


def alone_s(work: Work, share: Share) -> float:
    """How long a job would take alone on its share of the slots, as whole requests.

    With two slots and a half: on three lanes that are each a sixth slower.
    """
    lanes = max(1, round(share.slots))
    busy = [0.0] * lanes
    for request_s in work.documents_s:
        heapq.heappushpop(busy, busy[0] + request_s)
    slower = max(1.0, lanes / share.slots)
    return max(share.listed_s - work.at_s, work.listing_s) + max(busy) * slower
