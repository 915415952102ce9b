"""When to try again, and when to give up. Pure: the clock and the dice are given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from autos.errors import AutosError

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
# Of one call with all its attempts, of one attempt, of a watch while the server is away.
TIMEOUT_S, ATTEMPT_S, PATIENCE_S = 30.0, 10.0, 300.0
OnPause = Callable[[AutosError, float], object]


class Patience:
    """Tries for `total_s` since the last sign of life; None: for ever."""

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

    def heard(self) -> None:
        """Somebody is there: the time begins anew."""
        self._since = self._clock()

    def progressed(self) -> None:
        """Somebody is there and gets on: the next pause is the shortest again."""
        self.heard()
        self._pause_s = FIRST_PAUSE_S

    @property
    def left_s(self) -> float:
        """What is left of the time."""
        if self._total_s is None:
            return float("inf")
        return self._total_s - (self._clock() - self._since)

    def pause_s(self, error: AutosError) -> float:
        """How long to wait before the next try. Raises `error` when there is none.

        What the server asked for is obeyed; a wait beyond the time that is left is not begun.
        """
        if not error.is_passing:
            raise error
        # Half to one and a half of it, so that those who were cut together do not come together.
        pause_s = self._pause_s * (0.5 + self._dice())
        if error.retry_delay_s is None:
            self._pause_s = min(MAX_PAUSE_S, 2 * self._pause_s)
        else:
            pause_s = error.retry_delay_s
        if pause_s >= self.left_s:
            raise error
        return pause_s
