"""Page tokens: opaque, and valid only for the RPC, client and filters that they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from storage.errors import InvalidRequest

MAX_LENGTH = 512


def fingerprint(*parts: object) -> str:
    """Return a hash of the RPC, the client and the filters that a token is valid for."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def job_token(create_time: datetime, job_id: UUID, made_for: str) -> str:
    """Return the token of the page after this job."""
    return _seal([made_for, create_time.isoformat(), str(job_id)])


def open_job_token(token: str, made_for: str) -> tuple[datetime, UUID] | None:
    """Return the job before the page; None for the first page. Raises InvalidRequest."""
    if not token:
        return None
    try:
        time_text, id_text = _open(token, made_for)
        moment = datetime.fromisoformat(time_text)
        if moment.tzinfo is None:
            raise _foreign()
        # PostgreSQL supports fewer UTC offsets than Python.
        return moment.astimezone(UTC), UUID(id_text)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _foreign() from error


def document_token(position: int, made_for: str) -> str:
    """Return the token of the page after this position."""
    return _seal([made_for, position])


def open_document_token(token: str, made_for: str) -> int | None:
    """Return the position before the page; None for the first page. Raises InvalidRequest."""
    if not token:
        return None
    try:
        (position,) = _open(token, made_for)
    except ValueError as error:
        raise _foreign() from error
    # isinstance() would accept True, which is an int.
    if type(position) is not int or not 0 <= position < 2**31:
        raise _foreign()
    return position


def case_token(process_number: str, made_for: str) -> str:
    """Return the token of the page after this case."""
    return _seal([made_for, process_number])


def open_case_token(token: str, made_for: str) -> str:
    """Return the case before the page, empty for the first page. Raises InvalidRequest."""
    if not token:
        return ""
    try:
        (number,) = _open(token, made_for)
    except ValueError as error:
        raise _foreign() from error
    if not isinstance(number, str) or not number.isascii() or "\0" in number:
        raise _foreign()
    return number


def event_cursor(number: int, made_for: str) -> str:
    """Return the cursor of the event with this number in a client's log."""
    return _seal([made_for, number])


def open_event_cursor(cursor: str, made_for: str) -> int:
    """Return the number of a cursor, 0 for an empty one. Raises InvalidRequest."""
    if not cursor:
        return 0
    try:
        (number,) = _open(cursor, made_for)
    except (ValueError, InvalidRequest) as error:
        raise _foreign_cursor() from error
    if type(number) is not int or not 0 < number < 2**63:
        raise _foreign_cursor()
    return number


def _foreign_cursor() -> InvalidRequest:
    return InvalidRequest.of(
        "after_cursor",
        "is not one that ListEvents gave to this client; leave it empty to begin at the oldest.",
    )


def _seal(parts: list[Any]) -> str:
    raw = json.dumps(parts, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _open(token: str, made_for: str) -> list[Any]:
    if len(token) > MAX_LENGTH or not token.isascii():
        raise _foreign()
    try:
        padded = token + "=" * (-len(token) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _foreign() from error
    if not isinstance(parts, list) or not parts or parts[0] != made_for:
        raise _foreign()
    return parts[1:]


def _foreign() -> InvalidRequest:
    return InvalidRequest.of(
        "page_token",
        "is not one that this call gave for these filters; leave it empty for the first page.",
    )
