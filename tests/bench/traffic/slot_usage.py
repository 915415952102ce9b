"""Compute how well the portal's capacity was used: its log, replayed on the limits.

At each moment the jobs could have had as many requests at the portal as they had documents left, up
to the lanes of a job, the limit of a court and the limit of all. The ratio of the real to this
possible use is the throughput: the log's own service times, without gaps between them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.traffic.journal_figures import GOOD, MeasuredJob
from tests.sandbox.admission import Visit
from tests.sandbox.court_cases.cnj import digits
from tests.sandbox.latency_profile import Burst


@dataclass(frozen=True)
class Room:
    """The capacity that Autos may use at once."""

    at_once: int
    per_court: int
    lanes: int


@dataclass(frozen=True)
class Outage:
    """An outage of a court, in seconds since 1970: from a burst until the first good answer."""

    court: str
    begin: float
    burst_end: float
    end: float

    @property
    def back_s(self) -> float:
        """Return the seconds from the end of the burst until Autos detected it."""
        return self.end - self.burst_end


def outages(
    bursts: Iterable[Burst], planned: float, visits: Sequence[Visit], jobs: Iterable[MeasuredJob]
) -> list[Outage]:
    """Return the outages as Autos saw them, without courts that got no request afterwards."""
    courts = sorted({job.court for job in jobs})
    found = []
    for burst in bursts:
        begin, over = planned + burst.begin_s, planned + burst.end_s
        for court in courts if burst.court is None else [burst.court]:
            good = [v.end for v in visits if v.court == court and v.status == GOOD and v.end]
            back = min((end for end in good if end >= over), default=None)
            if back is not None:
                found.append(Outage(court, begin, over, back))
    return found


@dataclass(frozen=True)
class TimeSlice:
    """An interval without a change: requests at the portal, by job, and the requests left.

    The requests left include those at the portal. `begun`: the job of the request that began the
    interval, if a request did.
    """

    begin: float
    seconds: float
    busy: Counter[str]
    left: dict[str, int]
    begun: str | None


def slices(
    visits: Sequence[Visit], jobs: Sequence[MeasuredJob], away: Sequence[Outage] = ()
) -> Iterator[TimeSlice]:
    """Return the slices from the first start to the last answer; outages begin a new slice."""
    documents = {job.key: job.documents for job in jobs}
    listed: set[str] = set()
    busy: Counter[str] = Counter()
    left: dict[str, int] = {}
    before = 0.0
    begun = None
    steps = _steps(visits, jobs) + [(outage.begin, CUT, "", 0) for outage in away]
    for moment, what, key, status in sorted(steps):
        # Two requests may begin in one moment: then the slice of the first has no length.
        if any(left.values()) and (moment > before or begun):
            yield TimeSlice(before, moment - before, +busy, dict(left), begun)
        before, begun = moment, key if what == BEGIN else None
        if what == START:
            left[key] = 1
        elif what == BEGIN:
            busy[key] += 1
        elif what != CUT:
            busy[key] -= 1
        if what == END_OF_LISTING and status == GOOD and key not in listed:
            listed.add(key)
            left[key] = documents.get(key, 0)
        elif what == END and status == GOOD and key in left:
            left[key] -= 1


# Of the events of one moment these come first.
START, CUT, END, END_OF_LISTING, BEGIN = range(5)


def _steps(
    visits: Sequence[Visit], jobs: Sequence[MeasuredJob]
) -> list[tuple[float, int, str, int]]:
    """Return the changes: time, kind, job and status of each."""
    steps = [(job.start, START, job.key, 0) for job in jobs]
    for visit in visits:
        if visit.end is not None:
            key = digits(visit.number)
            end = END_OF_LISTING if visit.kind == "list" else END
            steps += [(visit.begin, BEGIN, key, 0), (visit.end, end, key, visit.status)]
    return steps


@dataclass(frozen=True)
class Use:
    """Seconds of slots: used, and possible.

    By client, while all waited: `turns`, its requests that began then, and `share`, its part of the
    used time. The rule gives equal turns, as long as answers of one court take as long as those of
    another; the time depends on the portal.
    """

    used_s: float
    possible_s: float
    seconds: float
    share: dict[str, float]
    turns: dict[str, int]

    @property
    def ratio(self) -> float:
        """Return the ratio; 1 means that no usable slot was ever free."""
        return self.used_s / self.possible_s if self.possible_s else 0.0


def use(
    cuts: Iterable[TimeSlice], jobs: Sequence[MeasuredJob], room: Room, away: Sequence[Outage]
) -> Use:
    """Return the use of the capacity, without courts during their outages."""
    by_key = {job.key: job for job in jobs}
    clients = {job.client for job in jobs}
    used_s = possible_s = seconds = 0.0
    had: dict[str, float] = defaultdict(float)
    turns = dict.fromkeys(sorted(clients), 0)
    for cut in cuts:
        shut = {o.court for o in away if o.begin <= cut.begin < o.end}
        used, possible = _used_and_possible(cut, by_key, room, shut)
        used_s += used * cut.seconds
        possible_s += possible * cut.seconds
        seconds += cut.seconds if possible else 0.0
        waiting = {by_key[k].client for k, left in cut.left.items() if left > cut.busy[k]}
        if waiting == clients and not shut:
            if cut.begun is not None:
                turns[by_key[cut.begun].client] += 1
            for key, count in cut.busy.items():
                had[by_key[key].client] += count * cut.seconds
    total = sum(had.values())
    share = {client: had[client] / total if total else 0.0 for client in sorted(clients)}
    return Use(used_s, possible_s, seconds, share, turns)


def _used_and_possible(
    cut: TimeSlice, by_key: Mapping[str, MeasuredJob], room: Room, shut: set[str]
) -> tuple[int, int]:
    used = in_shut = 0
    wanted: Counter[str] = Counter()
    for key, left in cut.left.items():
        court = by_key[key].court
        if court in shut:
            in_shut += cut.busy[key]
        else:
            used += cut.busy[key]
            wanted[court] += min(left, room.lanes)
    possible = sum(min(count, room.per_court) for count in wanted.values())
    possible = max(0, min(room.at_once - in_shut, possible))
    # Requests above the limits do not count as use of the capacity.
    return min(used, possible), possible
