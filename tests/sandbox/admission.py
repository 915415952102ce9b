"""Count the requests at the portal, listings included, and reject those above the limit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tests.sandbox import replies
from tests.sandbox.court_cases.cnj import digits
from tests.sandbox.replies import Reply
from tests.sandbox.routes import Route


@dataclass
class Visit:
    """A request below /api/v2; times in seconds since 1970, `end` None: still in progress.

    `status` 0: not answered (yet). `kind`, `number` and `uuid` as in `request_log.PortalRequest`.
    `retry_after_s` is the pause that a 429 requested, None without one.
    """

    kind: str
    number: str
    court: str
    uuid: str | None
    begin: float
    end: float | None = None
    status: int = 0
    retry_after_s: float | None = None
    is_admitted: bool = True


class Admission:
    """Counts and limits. `limit` and `retry_after_s` may be changed while the portal serves.

    A visit ends just before its last byte is handed to the kernel. So no visit counts as present
    after its client can know that it is over.
    """

    def __init__(self, limit: int | None = None, retry_after_s: float | None = 1.0) -> None:
        self.limit = limit
        self.retry_after_s = retry_after_s
        self._lock = threading.Lock()
        self._visits: list[Visit] = []
        self._open: list[Visit] = []
        self._peak = 0
        self._peaks: Counter[str] = Counter()

    @contextlib.contextmanager
    def visit(self, route: Route) -> Iterator[Visit]:
        """Count a request as present, at most until the block ends; `over` ends it earlier."""
        number = route.number or ""
        with self._lock:
            visit = Visit(route.kind, number, court_of(number), route.uuid, time.time())
            if self.limit is not None:
                visit.is_admitted = sum(v.is_admitted for v in self._open) < self.limit
            self._visits.append(visit)
            self._open.append(visit)
            self._note_peaks()
        try:
            yield visit
        finally:
            self.over(visit)

    def over(self, visit: Visit) -> None:
        """End the visit now, unless it has ended."""
        with self._lock:
            if visit.end is None:
                visit.end = time.time()
                # Compared by identity: two visits may be equal.
                self._open = [each for each in self._open if each is not visit]

    def refusal(self, visit: Visit) -> Reply:
        """Return the answer for a request above the limit."""
        visit.retry_after_s = self.retry_after_s
        headers = {} if self.retry_after_s is None else {"Retry-After": f"{self.retry_after_s:g}"}
        return replies.problem(429, "Muitas requisições.", headers)

    def clear(self) -> None:
        """Clear the visits and the peaks. Requests in progress count again from here on."""
        with self._lock:
            self._visits = list(self._open)
            self._peak, self._peaks = 0, Counter()
            self._note_peaks()

    def _note_peaks(self) -> None:
        self._peak = max(self._peak, len(self._open))
        self._peaks |= Counter(visit.court for visit in self._open)

    @property
    def visits(self) -> list[Visit]:
        """Return the visits so far, in order of arrival."""
        with self._lock:
            return [replace(visit) for visit in self._visits]

    @property
    def peak(self) -> int:
        """Return the highest number of requests at once, including rejected ones."""
        with self._lock:
            return self._peak

    @property
    def peaks(self) -> dict[str, int]:
        """Return the same for each court."""
        with self._lock:
            return dict(self._peaks)

    @property
    def refused(self) -> int:
        """Return the number of rejected requests."""
        with self._lock:
            return sum(not visit.is_admitted for visit in self._visits)


def court_of(number: str) -> str:
    """Return the court of a number, with or without punctuation, as J.TR; empty if none."""
    plain = digits(number)
    return f"{plain[13]}.{plain[14:16]}" if len(plain) == 20 else ""


def timeline(visits: Iterable[Visit]) -> list[tuple[float, int]]:
    """Return how many requests were present from each moment on, in seconds since 1970."""
    steps: Counter[float] = Counter()
    for visit in visits:
        steps[visit.begin] += 1
        if visit.end is not None:
            steps[visit.end] -= 1
    now, line = 0, []
    for moment in sorted(steps):
        now += steps[moment]
        line.append((moment, now))
    return line
