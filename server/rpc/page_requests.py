"""The calls that list pages, converted to plain, checked values, and the tokens of their pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.requests import Checks, refuse, seconds_of, uuid_of
from server.rpc.starts import start_requests
from storage.documents.document_queries import DocumentFilter
from storage.errors import InvalidRequest
from storage.jobs.job_queries import JobFilter
from storage.process_number import parse_process_number
from storage.states import DocumentState, JobState

T = TypeVar("T")

EVENT_WAIT_CAP_S = 60.0
# The longest token that is read.
MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A checked call that lists a page. `fingerprint` binds page tokens to the call's filters."""

    wanted: T
    size: int
    fingerprint: str


def page_size(size: int, *, default: int, most: int) -> int:
    """Return the maximum number of items on a page. Raises InvalidRequest."""
    if size < 0:
        raise InvalidRequest.of("page_size", f"must not be negative; 0 means {default}.")
    return min(size or default, most)


def _states(values: Sequence[int], kind: type[JobState] | type[DocumentState]) -> tuple[str, ...]:
    enum = pb.JobState if kind is JobState else pb.DocumentState
    prefix = "JOB_STATE_" if kind is JobState else "DOCUMENT_STATE_"
    names = {number: name.removeprefix(prefix) for name, number in enum.items()}
    known = {number for number, name in names.items() if name in kind.__members__}
    if not set(values) <= known:
        raise InvalidRequest.of("states", f"must be values of {prefix}* other than UNSPECIFIED.")
    return tuple(sorted({names[value] for value in values}))


def list_jobs(request: pb.ListJobsRequest, *, client: str) -> Page[JobFilter]:
    """Return a checked ListJobs. Raises InvalidRequest."""
    checks = Checks()
    size = checks.take(lambda: page_size(request.page_size, default=50, most=500))
    states = checks.take(lambda: _states(request.states, JobState))
    number = None
    if request.process_number:
        number = checks.take(lambda: parse_process_number(request.process_number))
    labels = checks.take(lambda: start_requests.checked_labels(request.labels)) or {}
    batch = None
    if request.batch_id:
        batch = checks.take(lambda: uuid_of("batch_id", request.batch_id))
    created_from = checks.take(lambda: _moment(request, "create_time_from"))
    created_to = checks.take(lambda: _moment(request, "create_time_to"))
    if created_from and created_to and created_from > created_to:
        checks.take(lambda: refuse("create_time_to", "must not be before create_time_from."))
    made_for = fingerprint(
        "ListJobs", client, number, states, sorted(labels.items()), created_from, created_to, batch
    )
    after = checks.take(lambda: open_job_token(request.page_token, made_for))
    checks.finish()
    wanted = JobFilter(client, number, states or (), after, labels, created_from, created_to, batch)
    return Page(wanted, size or 0, made_for)


def _moment(request: pb.ListJobsRequest, field: str) -> datetime | None:
    if not request.HasField(field):
        return None
    return start_requests.checked_time(field, getattr(request, field))


def list_documents(request: pb.ListDocumentsRequest, *, client: str) -> Page[DocumentFilter]:
    """Return a checked ListDocuments. Raises InvalidRequest."""
    checks = Checks()
    job = checks.take(lambda: uuid_of("job_id", request.job_id))
    size = checks.take(lambda: page_size(request.page_size, default=100, most=1000))
    states = checks.take(lambda: _states(request.states, DocumentState))
    made_for = fingerprint("ListDocuments", client, str(job), states)
    after = checks.take(lambda: open_document_token(request.page_token, made_for))
    checks.finish()
    assert job is not None  # noqa: S101 - finish() checked it
    wanted = DocumentFilter(job, states or (), -1 if after is None else after)
    return Page(wanted, size or 0, made_for)


def list_subscriptions(request: pb.ListSubscriptionsRequest, *, client: str) -> Page[str]:
    """Return a checked ListSubscriptions; `wanted` is the case before the page. As above."""
    checks = Checks()
    size = checks.take(lambda: page_size(request.page_size, default=50, most=500))
    made_for = fingerprint("ListSubscriptions", client)
    after = checks.take(lambda: open_case_token(request.page_token, made_for))
    checks.finish()
    return Page(after or "", size or 0, made_for)


@dataclass(frozen=True, slots=True)
class EventPage:
    """A checked ListEvents. `after`: the number of the last event that the caller handled."""

    after: int
    size: int
    wait_s: float
    without_documents: bool
    fingerprint: str


def list_events(request: pb.ListEventsRequest, *, client: str) -> EventPage:
    """Return a checked ListEvents. Raises InvalidRequest."""
    checks = Checks()
    made_for = fingerprint("ListEvents", client)
    after = checks.take(lambda: open_event_cursor(request.after_cursor, made_for))
    size = checks.take(lambda: page_size(request.page_size, default=50, most=500))
    wait_s = checks.take(lambda: seconds_of("wait", request.wait))
    checks.finish()
    most_s = min(wait_s or 0.0, EVENT_WAIT_CAP_S)
    return EventPage(after or 0, size or 0, most_s, request.without_documents, made_for)


def fingerprint(*parts: object) -> str:
    """Return a hash of the RPC, the client and the filters that a token is valid for."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def page_token(made_for: str, *last: str | int) -> str:
    """Return the token of the page after the item with the key `last`, or the event's cursor."""
    raw = json.dumps([made_for, *last], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


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


def open_document_token(token: str, made_for: str) -> int | None:
    """Return the position before the page; None for the first page. Raises InvalidRequest."""
    return _open_one(token, made_for, None, lambda last: _is_whole(last, 0, 2**31))


def open_case_token(token: str, made_for: str) -> str:
    """Return the case before the page, empty for the first page. Raises InvalidRequest."""
    return _open_one(token, made_for, "", _is_plain)


def open_event_cursor(cursor: str, made_for: str) -> int:
    """Return the number of a cursor, 0 for an empty one. Raises InvalidRequest."""
    try:
        return _open_one(cursor, made_for, 0, lambda last: _is_whole(last, 1, 2**63))
    except InvalidRequest as error:
        raise InvalidRequest.of(
            "after_cursor",
            "is not one that ListEvents gave to this client;"
            " leave it empty to begin at the oldest.",
        ) from error


def _is_whole(value: object, least: int, end: int) -> bool:
    # isinstance() would accept True, which is an int.
    return type(value) is int and least <= value < end


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and "\0" not in value


def _open_one(token: str, made_for: str, first: T, is_valid: Callable[[Any], bool]) -> T:
    """Return the only value of a token, `first` for an empty one."""
    if not token:
        return first
    parts = _open(token, made_for)
    if len(parts) != 1 or not is_valid(parts[0]):
        raise _foreign()
    last: T = parts[0]
    return last


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
