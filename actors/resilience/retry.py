"""When to repeat: a write to PostgreSQL for work that is done, or a request after Retry-After."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
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


def seconds_until(header: str | None, now: datetime) -> float | None:
    """Return the seconds from `now` to the time of the header, negative if it is past.

    The header has seconds or a date. Return None if it is missing or unreadable.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # By RFC 5322 a "-0000". HTTP has only GMT.
        moment = moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()
