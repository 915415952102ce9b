"""Logs why a part fails: once for each operation and code, until the operation succeeds again."""

from __future__ import annotations

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Of a text that another program wrote.
ANSWER_CAP = 300


class OutageLog:
    """What `part` refused or failed at last, by operation. Thread-safe.

    Two threads that fail in the same moment may both log it.
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
        """Log that an operation that failed succeeds again. Costs next to nothing otherwise."""
        if self._failing and operation in self._failing:
            self._failing.pop(operation, (ServiceUnavailable, ""))
            log.info("part answers again", part=self._part, operation=operation)
