"""Log why a dependency fails: once per operation and code, until the operation succeeds again."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The most characters of a text from another program.
ANSWER_CAP = 300


class OutageLog:
    """The last failure of each operation of `part`. Thread-safe.

    Two threads that fail at the same time may both log it. `clock`: monotonic seconds.
    """

    def __init__(self, part: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._part = part
        self._clock = clock
        # By operation and subject: the kind of failure, its code, and when it occurred last.
        self._failing: dict[tuple[str, str], tuple[type[ServiceUnavailable], str]] = {}
        self._failed_at: dict[tuple[str, str], float] = {}

    def failed(self, operation: str, error: ServiceUnavailable, subject: str = "") -> None:
        """Log a failure unless it was logged already.

        Failures of an operation with different subjects are logged apart.
        """
        what, key = (type(error), error.code), (operation, subject)
        self._failed_at[key] = self._clock()
        if self._failing.get(key) == what:
            return
        self._failing[key] = what
        log.warning(
            "part refuses" if isinstance(error, ServiceRefused) else "part is unavailable",
            part=self._part,
            operation=operation,
            code=error.code,
            answer=error.answer[:ANSWER_CAP],
        )

    def succeeded(self, operation: str) -> None:
        """Log that an operation that failed succeeds again. Otherwise costs almost nothing."""
        if self._failing and (operation, "") in self._failing:
            self._end((operation, ""))

    def end_quiet(self, quiet_s: float) -> None:
        """Log the end of each failure that has not occurred for `quiet_s` seconds."""
        if self._failing:
            now = self._clock()
            for key, failed_at in list(self._failed_at.items()):
                if now - failed_at > quiet_s:
                    self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        self._failed_at.pop(key, None)
        if self._failing.pop(key, None):
            log.info("part answers again", part=self._part, operation=key[0])
