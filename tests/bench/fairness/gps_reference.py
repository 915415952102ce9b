"""Compute the reference for fairness: processor sharing with infinitely divisible requests.

At each moment the slots go to those with the least: BULK last, then equally by client, then by job
in proportion to its weight, up to the lanes of a job and the limit of a court.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.traffic.slot_usage import Room

# Fewer slots, or fewer seconds of work, count as zero.
NOTHING = NOTHING_S = 1e-9
WEIGHTS = {"HIGH": 4.0, "NORMAL": 1.0, "BULK": 1.0}


@dataclass(frozen=True)
class Work:
    """A job as the portal sees it: its arrival, and the duration of each of its requests."""

    at_s: float
    client: str
    court: str
    priority: str
    listing_s: float
    documents_s: tuple[float, ...]


@dataclass(frozen=True)
class Share:
    """A job's ideal times of listing and end, in seconds since the start of all jobs.

    Between the two it has `slots` slots on average.
    """

    listed_s: float
    ended_s: float
    slots: float


@dataclass(frozen=True)
class Moment:
    """The work left of each job at a time: of its listing, and of its documents."""

    at_s: float
    left: tuple[tuple[float, float], ...]


def moments(works: Sequence[Work], room: Room) -> Iterator[Moment]:
    """Return every moment when the shares change. Between two, work progresses evenly."""
    left = [[work.listing_s, math.fsum(work.documents_s)] for work in works]
    now = 0.0
    yield Moment(now, tuple((of[0], of[1]) for of in left))
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
        yield Moment(now, tuple((of[0], of[1]) for of in left))


def shares(works: Sequence[Work], room: Room) -> list[Share]:
    """Return the share of each of these jobs beside all the others."""
    ends = [[math.inf, math.inf] for _ in works]
    for moment in moments(works, room):
        for end, left in zip(ends, moment.left, strict=True):
            for stage in (0, 1):
                if not left[stage]:
                    end[stage] = min(end[stage], moment.at_s)
    return [
        Share(listed_s, ended_s, math.fsum(work.documents_s) / (ended_s - listed_s))
        for work, (listed_s, ended_s) in zip(works, ends, strict=True)
    ]


def _rates(works: Sequence[Work], stage: dict[int, int], room: Room) -> dict[int, float]:
    """Return the number of slots of each of these jobs."""
    rates = dict.fromkeys(stage, 0.0)
    courts = {works[i].court: float(room.per_court) for i in stage}
    free = float(room.at_once)
    for is_bulk in (False, True):
        lanes = {
            i: float(min(room.lanes, len(works[i].documents_s)) if stage[i] else 1)
            for i in stage
            if (works[i].priority == "BULK") == is_bulk
        }
        free = _fill(works, rates, lanes, courts, free)
    return {i: rate for i, rate in rates.items() if rate > NOTHING}


def _fill(
    works: Sequence[Work],
    rates: dict[int, float],
    lanes: dict[int, float],
    courts: dict[str, float],
    free: float,
) -> float:
    """Let the rates of these jobs grow, those of all clients alike; return the slots left over.

    A job stops at its lanes, or when its court is full. `courts`: the slots that each has left.
    """
    growing = list(lanes)
    while growing and free > NOTHING:
        weights: dict[str, float] = defaultdict(float)
        for i in growing:
            weights[works[i].client] += WEIGHTS[works[i].priority]
        slopes = {i: WEIGHTS[works[i].priority] / weights[works[i].client] for i in growing}
        of_courts: dict[str, float] = defaultdict(float)
        for i, slope in slopes.items():
            of_courts[works[i].court] += slope
        step = min(
            free / len(weights),
            *((lanes[i] - rates[i]) / slope for i, slope in slopes.items()),
            *(courts[court] / slope for court, slope in of_courts.items()),
        )
        for i, slope in slopes.items():
            rates[i] += slope * step
            courts[works[i].court] -= slope * step
        free -= len(weights) * step
        growing = [
            i for i in growing if lanes[i] - rates[i] > NOTHING and courts[works[i].court] > NOTHING
        ]
    return free


def alone_s(work: Work, share: Share) -> float:
    """Return the seconds a job would take alone on its share of the slots, as whole requests.

    Example: 2.6 slots count as three lanes, each slower by the factor 3 / 2.6.
    """
    lanes = max(1, round(share.slots))
    busy = [0.0] * lanes
    for request_s in work.documents_s:
        heapq.heappushpop(busy, busy[0] + request_s)
    slower = max(1.0, lanes / share.slots)
    return max(share.listed_s - work.at_s, work.listing_s) + max(busy) * slower
