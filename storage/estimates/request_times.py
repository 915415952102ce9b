"""The expected duration of a request of each court, from few measurements.

Pure. After hundreds of requests, the court's own mean is the best estimate. After a few requests
the mean is wrong in two ways, and callers receive their estimated end after a few requests. Quick
answers come first, so their mean is too low. And chance makes equal courts look different.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from storage import sql
from storage.postgres.database import Database

# With fewer requests, each counts alike; later the newest counts most, by this factor.
PLAIN_REQUESTS = 20
KEPT = 0.98
# A duration of zero would break the sums of the queue.
LEAST_S = 0.001

# The standard deviation of a court's request times, as a part of their mean. The latencies of the
# portal vary by about as much as their mean.
SPREAD = 1.0
# The moving average never knows more than the mean of this many requests.
REMEMBERED = (1 + KEPT) / (1 - KEPT)


def record_times(database: Database, measured: Mapping[str, tuple[float, int]]) -> None:
    """Add (seconds in all, requests) of each court to its moving average."""
    courts = list(measured)
    with database.autocommit() as transaction:
        transaction.run(
            sql.statement("record_request_times"),
            plain=PLAIN_REQUESTS,
            kept=KEPT,
            least_s=LEAST_S,
            courts=courts,
            seconds=[measured[court][0] for court in courts],
            requests=[measured[court][1] for court in courts],
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a court.

    `mean_s`: mean of the requests that ended lately. `requests`: how many ever ended.
    `under_way_s`: the total time that the current requests have taken so far.
    """

    mean_s: float
    requests: int
    under_way_s: float = 0.0


# The assumed seconds of a request while none was measured.
UNMEASURED_S = 0.5


def expected_s(measured: Mapping[str, Measured]) -> dict[str, float]:
    """Return the expected seconds of a request of each of these courts.

    Return nothing if no request of any court has ended yet.
    """
    own = {court: (_own_s(m), _weight(m)) for court, m in measured.items() if m.requests > 0}
    if not own:
        return {}
    usual_s = _middle(list(own.values()))
    known = {court: _between(usual_s, *of_court) for court, of_court in own.items()}
    return {court: known.get(court, usual_s) for court in measured}


def _own_s(measured: Measured) -> float:
    """Return the time spent for each answer, so that slow answers count before they arrive."""
    return measured.mean_s + measured.under_way_s / measured.requests


def _weight(measured: Measured) -> float:
    return min(float(measured.requests), REMEMBERED)


def _middle(weighted: list[tuple[float, float]]) -> float:
    """Return the weighted median: unusual courts do not move it."""
    half = sum(weight for _, weight in weighted) / 2
    for seconds, weight in sorted(weighted):
        half -= weight
        if half <= 0:
            return seconds
    return max(weighted)[0]


def _between(usual_s: float, own_s: float, weight: float) -> float:
    """Return the court's own time, moved to the usual one as far as chance explains the difference.

    The share of the difference that is due to chance is the squared error that chance makes,
    divided by the squared difference. (The positive-part estimator: James and Stein, 1961, of a
    single mean.)
    """
    difference = math.log(own_s / usual_s)
    chance = SPREAD**2 / weight
    by_chance = min(1.0, chance / difference**2) if difference else 1.0
    return usual_s * math.exp(difference * (1 - by_chance))
