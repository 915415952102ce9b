"""Requests converted to plain, checked values. An error names every invalid field at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from autos.downloads.v1 import downloads_pb2 as pb
from storage.errors import FieldViolation, InvalidRequest
from storage.process_number import parse_process_number

T = TypeVar("T")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
URL_LIFETIME_S = 900
URL_LIFETIME_CAP_S = 3_600
SEALED_LIFETIME_CAP_S = 300
HEARTBEAT_S = 15.0
WAIT_S, WAIT_CAP_S = 30.0, 300.0

_PACKAGE = "autos.downloads.v1"
# By the full name of the field. Fields of an enum need no entry: each value is useful once.
MOST: Mapping[str, int] = {
    f"{_PACKAGE}.StartDownloadRequest.labels": 16,
    f"{_PACKAGE}.StartDownloadsRequest.requests": 1_000,
    f"{_PACKAGE}.ListJobsRequest.labels": 16,
    f"{_PACKAGE}.SubscribeCaseRequest.labels": 16,
    f"{_PACKAGE}.Selection.document_ids": 10_000,
    f"{_PACKAGE}.Selection.kinds": 100,
    f"{_PACKAGE}.Selection.instances": 100,
}
# Each value is a request that is checked, and refused, by itself.
_CHECKED_LATER = {f"{_PACKAGE}.StartDownloadsRequest.requests"}


class Checks:
    """Collects the violations of a request."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def take(self, check: Callable[[], T]) -> T | None:
        """Return the result of `check`. If it raises InvalidRequest, keep the violations."""
        try:
            return check()
        except InvalidRequest as error:
            self._violations.extend(error.violations)
            return None

    def finish(self) -> None:
        """Raise InvalidRequest if there is any violation."""
        if self._violations:
            raise InvalidRequest(*self._violations)


def refuse(field: str, why: str) -> None:
    """Raise InvalidRequest for a field."""
    raise InvalidRequest.of(field, why)


def uuid_of(field: str, text: str) -> UUID:
    """Return the UUID of a field. Raises InvalidRequest."""
    if not _UUID.fullmatch(text):
        raise InvalidRequest.of(
            field, "must be a UUID, such as 2f1e0c9a-7b3d-4c5e-8f60-1a2b3c4d5e6f."
        )
    return UUID(text)


def seconds_of(field: str, duration: Duration) -> float:
    """Return the seconds of a field, zero or more. Raises InvalidRequest."""
    is_proper = abs(duration.seconds) <= 315_576_000_000 and abs(duration.nanos) < 1_000_000_000
    value = duration.seconds + duration.nanos / 1e9
    if not is_proper or value < 0 or duration.nanos < 0:
        raise InvalidRequest.of(field, "must be a duration of zero or more.")
    return value


def target(
    request: pb.GetStatusRequest | pb.WatchProgressRequest | pb.WaitJobRequest,
) -> UUID | str:
    """Return the job_id or the process number of the requested job. Raises InvalidRequest."""
    match request.WhichOneof("target"):
        case "job_id":
            return uuid_of("job_id", request.job_id)
        case "process_number":
            return parse_process_number(request.process_number)
        case _:
            raise InvalidRequest.of("target", "set exactly one of job_id and process_number.")


def repeatable(
    request: pb.RetryJobRequest | pb.RedeliverWebhookRequest,
) -> tuple[UUID, UUID | None]:
    """Return the job_id and request_id of a call on an ended job. Raises InvalidRequest."""
    checks = Checks()
    job = checks.take(lambda: uuid_of("job_id", request.job_id))
    request_id = None
    if request.request_id:
        request_id = checks.take(lambda: uuid_of("request_id", request.request_id))
    checks.finish()
    assert job is not None  # noqa: S101 - finish() checked it
    return job, request_id


def document_ids(
    request: pb.GetDocumentUrlRequest | pb.GetDocumentRequest,
) -> tuple[UUID, UUID]:
    """Return the job_id and document_id of a call on one document. Raises InvalidRequest."""
    checks = Checks()
    job = checks.take(lambda: uuid_of("job_id", request.job_id))
    document = checks.take(lambda: uuid_of("document_id", request.document_id))
    if isinstance(request, pb.GetDocumentUrlRequest):
        checks.take(lambda: url_lifetime_s(request, is_sealed=False))
    checks.finish()
    assert job is not None and document is not None  # noqa: S101, PT018 - finish() checked it
    return job, document


def url_lifetime_s(request: pb.GetDocumentUrlRequest, *, is_sealed: bool) -> int:
    """Return the lifetime of the URL in whole seconds. Raises InvalidRequest."""
    wanted_s = float(URL_LIFETIME_S)
    if request.HasField("lifetime"):
        wanted_s = seconds_of("lifetime", request.lifetime)
        if wanted_s < 1:
            raise InvalidRequest.of("lifetime", "must be at least one second.")
    return int(min(wanted_s, SEALED_LIFETIME_CAP_S if is_sealed else URL_LIFETIME_CAP_S))


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """A checked WatchProgress."""

    target: UUID | str
    after_revision: int
    heartbeat_s: float


def watch(request: pb.WatchProgressRequest) -> WatchRequest:
    """Return a checked WatchProgress. Raises InvalidRequest.

    The caller checks that after_revision is not ahead of the job.
    """
    checks = Checks()
    wanted = checks.take(lambda: target(request))
    checks.take(lambda: _after_revision(request))
    checks.finish()
    heartbeat_s = HEARTBEAT_S
    if request.HasField("heartbeat_interval"):
        heartbeat_s = _brought_into(request.heartbeat_interval, 60.0)
    assert wanted is not None  # noqa: S101 - finish() checked it
    return WatchRequest(wanted, request.after_revision, heartbeat_s)


def wait(request: pb.WaitJobRequest) -> tuple[UUID | str, float]:
    """Return the target of a WaitJob and its timeout in seconds. Raises InvalidRequest."""
    wanted = target(request)
    if not request.HasField("timeout"):
        return wanted, WAIT_S
    return wanted, _brought_into(request.timeout, WAIT_CAP_S)


def _brought_into(duration: Duration, most_s: float) -> float:
    """Return a duration in seconds, brought into 1 to `most_s`."""
    return min(most_s, max(1.0, duration.seconds + duration.nanos / 1e9))


def _after_revision(request: pb.WatchProgressRequest) -> None:
    if request.after_revision < 0:
        raise InvalidRequest.of("after_revision", "must not be negative; 0 sends all documents.")
    if request.after_revision and request.WhichOneof("target") == "process_number":
        raise InvalidRequest.of(
            "after_revision",
            "goes with job_id only: the newest job of a case may be another one by now.",
        )


def require_short(request: Message) -> None:
    """Raise InvalidRequest for the repeated fields of `request` that have too many values.

    Fields of messages inside it count, too. A violation has the path of its field.
    """
    if wrong := list(_too_long(request, "")):
        raise InvalidRequest(*wrong)


def _too_long(message: Message, path: str) -> Iterator[FieldViolation]:
    for field, value in message.ListFields():
        name = path + field.name
        if field.is_repeated:
            most = most_of(field)
            if len(value) > most:
                yield FieldViolation(name, f"must have at most {most} values.")
            elif _has_fields(field):
                for place, each in enumerate(value):
                    yield from _too_long(each, f"{name}[{place}].")
        elif field.message_type is not None:
            yield from _too_long(value, f"{name}.")


def _has_fields(field: FieldDescriptor) -> bool:
    return (
        field.message_type is not None
        and not is_map(field)
        and field.full_name not in _CHECKED_LATER
    )


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a repeated field is a map."""
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def most_of(field: FieldDescriptor) -> int:
    """Return the most values of a repeated field. Raises KeyError if no limit is known."""
    if field.enum_type is not None:
        return len(field.enum_type.values)
    return MOST[field.full_name]
