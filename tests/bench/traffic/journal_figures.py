"""Compute figures from the portal's log of requests. Pure: visits and jobs in, figures out."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.sandbox.admission import Visit, court_of
from tests.sandbox.court_cases.cnj import digits

GOOD = 200
TOO_MANY = 429
# 0: a connection that ended without an answer.
OUTAGES = (0, 502, 503, 504)


@dataclass(frozen=True)
class MeasuredJob:
    """A job's start, in seconds since 1970, and its end.

    `attempts` counts those of each document, by the portal's UUID.
    """

    client: str
    number: str
    documents: int
    start: float
    end: float | None
    state: str
    attempts: Mapping[str, int]

    @property
    def key(self) -> str:
        """Return the number without punctuation, as visits are compared with it."""
        return digits(self.number)

    @property
    def court(self) -> str:
        """Return the court as J.TR."""
        return court_of(self.number)


@dataclass(frozen=True)
class Attempts:
    """Attempts beyond the first: of documents that met an outage, and of the others."""

    by_outages: int
    by_pauses: int
    unexplained: int


def attempts_burnt(visits: Iterable[Visit], jobs: Iterable[MeasuredJob]) -> Attempts:
    """Return why documents counted more than one attempt."""
    outages: Counter[str] = Counter()
    pauses: Counter[str] = Counter()
    for visit in visits:
        if visit.uuid is not None:
            outages[visit.uuid] += visit.status in OUTAGES
            pauses[visit.uuid] += visit.status == TOO_MANY
    by_outages = by_pauses = unexplained = 0
    for job in jobs:
        for uuid, count in job.attempts.items():
            burnt = max(0, count - 1)
            excused = min(burnt, outages[uuid])
            paused = min(burnt - excused, pauses[uuid])
            by_outages += excused
            by_pauses += paused
            unexplained += burnt - excused - paused
    return Attempts(by_outages, by_pauses, unexplained)


def not_once(visits: Iterable[Visit], jobs: Iterable[MeasuredJob]) -> list[str]:
    """Return the UUIDs of documents that the portal did not deliver exactly once."""
    given = Counter(v.uuid for v in visits if v.kind == "file" and v.status == GOOD)
    wanted = {uuid for job in jobs for uuid in job.attempts}
    return sorted(uuid for uuid in wanted | set(filter(None, given)) if given[uuid] != 1)


@dataclass(frozen=True)
class Pauses:
    """The pauses that the portal requested, and the requests that began during one.

    A request counts only if it began more than `grace_s` after the answer that requested the pause:
    requests decided earlier are already in flight.
    """

    requested: int
    broken: int


def pauses(visits: Sequence[Visit], *, grace_s: float) -> Pauses:
    """Return how the pauses were kept that answers of 429 with a Retry-After requested."""
    requested = [
        (visit.end + grace_s, visit.end + visit.retry_after_s)
        for visit in visits
        if visit.end is not None and visit.retry_after_s is not None
    ]
    broken = sum(any(begin < v.begin < end for begin, end in requested) for v in visits)
    return Pauses(sum(visit.status == TOO_MANY for visit in visits), broken)


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and maximum of several values, in seconds."""

    median: float
    p95: float
    most: float

    @classmethod
    def of(cls, values: Collection[float]) -> Spread:
        """Return the statistics of at least one value."""
        ordered = sorted(values)
        rank = min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))
        return cls(statistics.median(ordered), ordered[rank], ordered[-1])


@dataclass(frozen=True)
class WaitFigures:
    """The durations of a client's jobs, from their start."""

    jobs: int
    to_first_document: Spread
    to_end: Spread


def waits(visits: Iterable[Visit], jobs: Iterable[MeasuredJob]) -> dict[str, WaitFigures]:
    """Return the figures by client, without jobs that did not end or got no document."""
    first: dict[str, float] = {}
    for visit in visits:
        if visit.kind == "file" and visit.status == GOOD and visit.end is not None:
            key = digits(visit.number)
            first[key] = min(visit.end, first.get(key, visit.end))
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for job in jobs:
        if job.end is not None and job.key in first:
            found[job.client].append((first[job.key] - job.start, job.end - job.start))
    return {
        client: WaitFigures(
            len(times), Spread.of([t[0] for t in times]), Spread.of([t[1] for t in times])
        )
        for client, times in found.items()
    }
