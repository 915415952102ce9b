"""The Retry-After header of an HTTP answer (RFC 9110, 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


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
