"""Whether the next request of a slice may begin, by the newest state that this process knows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from storage.errors import AttemptError, TooFast
from storage.slots import PORTAL, court_of

# A wait for the moment that the rate reserved is looked at again after this, in seconds.
STEP_S = 0.05


class RequestGate:
    """Pauses and open circuit breakers that this process has met. Thread-safe.

    The rows decide when a slice may begin. This stops the further requests of the slices that were
    claimed before. `is_stopping`: whether the process ends.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._lock = threading.Lock()
        self._closed_at: dict[str, float] = {}

    def close(self, process_number: str, error: AttemptError) -> None:
        """Let no slice that is claimed already begin a request: of any court if the portal is
        TooFast, else of the court of this case. Call it after the COMMIT of pause or breaker.
        """
        scope = PORTAL if isinstance(error, TooFast) else court_of(process_number)
        with self._lock:
            self._closed_at[scope] = monotonic()

    def await_begin(self, process_number: str, begins_at: float, claimed_at: float) -> bool:
        """Wait until `begins_at`. Return whether a request may begin then.

        `claimed_at`: when the claim of its slice was sent; both in monotonic seconds.
        """
        while (wait_s := begins_at - monotonic()) > 0:
            if self._is_stopping():
                return False
            threading.Event().wait(min(STEP_S, wait_s))
        return not self._is_stopping() and not self._is_closed(process_number, claimed_at)

    def _is_closed(self, process_number: str, claimed_at: float) -> bool:
        scopes = (PORTAL, court_of(process_number))
        with self._lock:
            return any(self._closed_at.get(scope, 0.0) > claimed_at for scope in scopes)
