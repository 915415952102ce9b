"""Measure the portal's response times per court, for queue positions, estimates and fairness."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog

from storage.errors import ServiceUnavailable
from storage.estimates.request_times import record_times
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

INTERVAL_S = 2.0
# The first measurements of a court are recorded at once, because none exists before.
FIRST_REQUESTS = 3


Times = dict[str, tuple[float, int]]  # by court: seconds in all, and requests


class LatencyRecorder:
    """Collect measurements and record them together. Thread-safe; loses a few with its process.

    `clock`: monotonic seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._times: Times = {}
        self._seen: Counter[str] = Counter()
        self._due = clock() + INTERVAL_S
        self._is_away = False

    def measured(self, court: str, seconds: float) -> None:
        """Record a request of `court` that took `seconds`. Never raises; rarely takes time."""
        with self._lock:
            self._keep({court: (seconds, 1)})
            self._seen[court] += 1
            is_first = self._seen[court] <= FIRST_REQUESTS and not self._is_away
            if not is_first and self._clock() < self._due:
                return
            self._due = self._clock() + INTERVAL_S
            times, self._times = self._times, {}
        self._record(times)

    def _record(self, times: Times) -> None:
        try:
            record_times(self._database, times)
            self._is_away = False
        except ServiceUnavailable:
            with self._lock:
                self._is_away = True
                self._keep(times)
        except Exception:
            # A defect in Autos. The measured request is not affected.
            log.exception("measurements not recorded")

    def _keep(self, times: Times) -> None:
        for court, (seconds, requests) in times.items():
            had_s, had = self._times.get(court, (0.0, 0))
            self._times[court] = (had_s + seconds, had + requests)
