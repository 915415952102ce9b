"""Repeat a write to PostgreSQL for work that is already done, until PostgreSQL is available."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PAUSE_S = 0.5
# Seconds between attempts while PostgreSQL answers with a refusal.
REFUSED_PAUSE_S = 5.0


def retry_until_available(write: Callable[[], T], *, is_stopping: Callable[[], bool]) -> T:
    """Return the result of `write`. Retry while PostgreSQL is unavailable and the process runs.

    Use this at the end of work that would otherwise be repeated: a fetched file, a stored object.
    `write` must be idempotent. Raises ServiceUnavailable once the process stops.
    """
    is_logged = False
    while True:
        try:
            return write()
        except ServiceUnavailable as error:
            if is_stopping():
                raise
            if not is_logged:
                log.warning("waiting to record what was done", part=error.part)
            is_logged = True
            time.sleep(REFUSED_PAUSE_S if isinstance(error, ServiceRefused) else PAUSE_S)
