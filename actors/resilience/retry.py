"""Saying to PostgreSQL what has been done already, however long it is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PAUSE_S = 0.5
# While PostgreSQL answers, and says no.
REFUSED_PAUSE_S = 5.0


def retry_until_available(write: Callable[[], T], *, is_stopping: Callable[[], bool]) -> T:
    """The result of `say`, tried again while PostgreSQL is away and this process goes on.

    For the end of work that would otherwise be done again: a file that has been fetched, an object
    that has been put. `say` must be safe to repeat. Raises ServiceUnavailable once the process
    stops.
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
