"""Whether the next request of this process may begin, by the newest state that it knows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from storage.slots import court_of

# A wait for the moment that the rate reserved is looked at again after this, in seconds.
STEP_S = 0.05


class RequestGate:
    """Pauses and open circuit breakers that this process has met. Thread-safe.

    The rows decide when a slice may begin. This stops the further requests of a slice that began
    before. `is_stopping`: whether the process ends.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._lock = threading.Lock()
        self._closed_until: dict[str, float] = {}

    def close(self, court: str, seconds: float) -> None:
        """Let no request of a court begin for so many seconds; of any court if it is ""."""
        with self._lock:
            until = monotonic() + seconds
            self._closed_until[court] = max(until, self._closed_until.get(court, 0.0))

    def await_begin(self, process_number: str, begins_at: float) -> bool:
        """Wait until `begins_at` (monotonic seconds). Return whether a request may begin then."""
        while (wait_s := begins_at - monotonic()) > 0:
            if self._is_stopping():
                return False
            threading.Event().wait(min(STEP_S, wait_s))
        return not self._is_stopping() and not self._is_closed(court_of(process_number))

    def _is_closed(self, court: str) -> bool:
        now = monotonic()
        return any(self._closed_until.get(each, 0.0) > now for each in ("", court))
