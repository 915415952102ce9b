"""How long a request of each court will take, from the little that may be known of it.

Pure. A court's own mean is all there is to go by, once there are hundreds of requests in it. After
a handful it is wrong in two ways, which matter because a job is told its end after a handful:
quick answers come first, so that their mean is too low; and chance makes courts differ that do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from storage.estimates.latencies import KEPT

# The spread of single requests of a court, as a part of their mean: latencies of the kind of the
# portal's vary by about as much as they take.
SPREAD = 1.0
# The moving average never knows more than the mean of so many requests.
REMEMBERED = (1 + KEPT) / (1 - KEPT)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the requests of a court.

    `mean_s`: of those that ended lately; `requests`: how many ever ended; `under_way_s`: the time
    that those under way have taken so far, in all.
    """

    mean_s: float
    requests: int
    under_way_s: float = 0.0


# Seconds that a request is taken to last while none was measured.
UNMEASURED_S = 0.5
NOTHING_MEASURED = Measured(0.0, 0)


def expected_s(measured: Mapping[str, Measured]) -> dict[str, float]:
    """The seconds that a request of each of these courts is expected to take.

    Nothing when no request of any has ended yet.
    """
    own = {court: (_own_s(m), _weight(m)) for court, m in measured.items() if m.requests > 0}
    if not own:
        return {}
    usual_s = _middle(list(own.values()))
    known = {court: _between(usual_s, *of_court) for court, of_court in own.items()}
    return {court: known.get(court, usual_s) for court in measured}


def _own_s(measured: Measured) -> float:
    """The time spent for each answer, so that slow ones count before they come."""
    return measured.mean_s + measured.under_way_s / measured.requests


def _weight(measured: Measured) -> float:
    return min(float(measured.requests), REMEMBERED)


def _middle(weighted: list[tuple[float, float]]) -> float:
    """The median by weight: courts that are out of the ordinary do not move it."""
    half = sum(weight for _, weight in weighted) / 2
    for seconds, weight in sorted(weighted):
        half -= weight
        if half <= 0:
            return seconds
    return max(weighted)[0]


def _between(usual_s: float, own_s: float, weight: float) -> float:
    """The court's own time, as near to the usual one as chance explains the difference.

    The squared error that chance makes, over the squared difference, is the part of the difference
    that is chance's. (The positive-part estimator: James and Stein, 1961, of a single mean.)
    """
    difference = math.log(own_s / usual_s)
    chance = SPREAD**2 / weight
    by_chance = min(1.0, chance / difference**2) if difference else 1.0
    return usual_s * math.exp(difference * (1 - by_chance))
