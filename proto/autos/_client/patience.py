"""Retry budgets: when to retry and when to give up. Pure: clock and randomness are passed in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from autos.errors import AutosError, TookTooLong

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
# Seconds for one call with all of its attempts, for one attempt, and for an unavailable server
# during a watch.
TIMEOUT_S, ATTEMPT_S, PATIENCE_S = 30.0, 10.0, 300.0
OnPause = Callable[[AutosError, float], object]


class Patience:
    """Allows retries for `total_s` seconds after the last response; if None, for ever."""

    def __init__(
        self,
        total_s: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._total_s = total_s
        self._clock = clock
        self._dice = dice
        self._since = clock()
        self._pause_s = FIRST_PAUSE_S
        self._last: AutosError | None = None

    def heard(self) -> None:
        """Record a response: the time starts again."""
        self._since = self._clock()
        self._last = None

    def progressed(self) -> None:
        """Record progress: the time starts again, and the next pause is the shortest."""
        self.heard()
        self._pause_s = FIRST_PAUSE_S

    @property
    def left_s(self) -> float:
        """Return the remaining seconds."""
        if self._total_s is None:
            return float("inf")
        return self._total_s - (self._clock() - self._since)

    def pause_s(self, error: AutosError) -> float:
        """Return the seconds to wait before the next attempt. Raises `error` if there is none.

        The server's retry delay is obeyed. If the wait would exceed the remaining time, `error` is
        raised at once. If `error` is only that the time was up, the failure before it is raised,
        which names the cause.
        """
        if not error.is_passing:
            raise error
        before, self._last = self._last, error
        # Jitter of 50 % to 150 %: clients that lost their connection at the same time should not
        # retry at the same time.
        pause_s = self._pause_s * (0.5 + self._dice())
        if error.retry_delay_s is None:
            self._pause_s = min(MAX_PAUSE_S, 2 * self._pause_s)
        else:
            pause_s = error.retry_delay_s
        if pause_s >= self.left_s:
            raise before if before and error.reason == "DEADLINE_EXCEEDED" else error
        return pause_s


class PatientWatch:
    """A watch that retries for `patience_s` seconds and ends after `timeout_s` (None: never)."""

    # The text of the error when `timeout_s` are over.
    TOO_LATE = ""

    def __init__(
        self, timeout_s: float | None, patience_s: float | None, clock: Callable[[], float]
    ) -> None:
        self._patience = Patience(patience_s, clock=clock)
        self._clock = clock
        self._until = None if timeout_s is None else clock() + timeout_s
        self._timeout_s = timeout_s

    def pause_s(self, error: AutosError) -> float:
        """Return the seconds to wait before the next attempt. Raises `error` to give up."""
        # Without time, this error is the answer, whatever the last failure was.
        self._within(0.0)
        return self._within(self._patience.pause_s(error))

    def _within(self, seconds: float) -> float:
        """Return `seconds`, or the rest of the watch if that is less. Raises TookTooLong."""
        if self._until is None:
            return seconds
        left_s = self._until - self._clock()
        if left_s <= 0:
            raise TookTooLong(self.TOO_LATE.format(self._timeout_s), reason="TOOK_TOO_LONG")
        return min(seconds, left_s)
