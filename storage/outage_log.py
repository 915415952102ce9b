"""Log why a dependency fails: once per operation and code, until the operation succeeds again."""

from __future__ import annotations

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The most characters of a text from another program.
ANSWER_CAP = 300


class OutageLog:
    """The last failure of each operation of `part`. Thread-safe.

    Two threads that fail at the same time may both log it.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        self._failing: dict[str, tuple[type[ServiceUnavailable], str]] = {}

    def failed(self, operation: str, error: ServiceUnavailable) -> None:
        """Log a failure unless it was logged already."""
        what = type(error), error.code
        if self._failing.get(operation) == what:
            return
        self._failing[operation] = what
        log.warning(
            "part refuses" if isinstance(error, ServiceRefused) else "part is unavailable",
            part=self._part,
            operation=operation,
            code=error.code,
            answer=error.answer[:ANSWER_CAP],
        )

    def succeeded(self, operation: str) -> None:
        """Log that an operation that failed succeeds again. Otherwise costs almost nothing."""
        if self._failing and operation in self._failing:
            self._failing.pop(operation, (ServiceUnavailable, ""))
            log.info("part answers again", part=self._part, operation=operation)
