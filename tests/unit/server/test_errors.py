"""Test the table of errors: each class that a caller can meet has its status and details."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

import server
import storage
from server import errors
from server.errors import (
    LateRequest,
    MalformedRequest,
    NoToken,
    ShuttingDown,
    Unauthenticated,
    UnknownToken,
)
from storage.errors import (
    AttemptError,
    AutosError,
    CallerError,
    CaseNotAllowed,
    ConfigurationError,
    CredentialsRefused,
    Doubted,
    EventsGone,
    FieldViolation,
    InvalidRequest,
    LeaseLost,
    LimitReached,
    NotFound,
    PermanentError,
    PortalUntrusted,
    PreconditionFailed,
    RequestIdReused,
    RowsLocked,
    ServiceRefused,
    ServiceUnavailable,
    StoreRefused,
    TooFast,
    TransientError,
)

# Base classes, which are never raised themselves.
BASES = {AutosError, CallerError, AttemptError, Unauthenticated}
SECRET = "postgresql://autos:hunter2@db/autos"
Code = grpc.StatusCode


@dataclass(frozen=True)
class ReportedError:
    """An error that a caller can meet, and its details beside ErrorInfo."""

    error: AutosError
    code: grpc.StatusCode
    reason: str
    details: tuple[type[Message], ...] = ()


TOLD = [
    ReportedError(
        InvalidRequest.of("a", "b"), Code.INVALID_ARGUMENT, "INVALID_REQUEST", (details.BadRequest,)
    ),
    ReportedError(
        RequestIdReused(FieldViolation("a", "b")),
        Code.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED",
        (details.BadRequest,),
    ),
    ReportedError(MalformedRequest(), Code.INVALID_ARGUMENT, "MALFORMED_REQUEST"),
    ReportedError(LateRequest(10), Code.INVALID_ARGUMENT, "MALFORMED_REQUEST"),
    ReportedError(NoToken(), Code.UNAUTHENTICATED, "NO_TOKEN"),
    ReportedError(UnknownToken(), Code.UNAUTHENTICATED, "UNKNOWN_TOKEN"),
    ReportedError(EventsGone(), Code.OUT_OF_RANGE, "EVENTS_GONE"),
    ReportedError(CaseNotAllowed(), Code.PERMISSION_DENIED, "CASE_NOT_ALLOWED"),
    ReportedError(NotFound("job", "x"), Code.NOT_FOUND, "JOB_NOT_FOUND", (details.ResourceInfo,)),
    ReportedError(
        NotFound("document", "x"), Code.NOT_FOUND, "DOCUMENT_NOT_FOUND", (details.ResourceInfo,)
    ),
    ReportedError(
        PreconditionFailed("JOB_NOT_ENDED", "any", "x"),
        Code.FAILED_PRECONDITION,
        "JOB_NOT_ENDED",
        (details.PreconditionFailure,),
    ),
    ReportedError(
        LimitReached("jobs_at_once", "ana", 1),
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_JOBS",
        (details.QuotaFailure, details.RetryInfo),
    ),
    ReportedError(ServiceUnavailable("S3"), Code.UNAVAILABLE, "UNAVAILABLE", (details.RetryInfo,)),
    ReportedError(RowsLocked("PostgreSQL"), Code.UNAVAILABLE, "UNAVAILABLE", (details.RetryInfo,)),
    *(
        ReportedError(refused, Code.UNAVAILABLE, "UNAVAILABLE", (details.RetryInfo,))
        for refused in (
            ServiceRefused("PostgreSQL", "session", "FATAL", SECRET),
            StoreRefused("PUT", "AccessDenied", SECRET),
            PortalUntrusted(SECRET),
        )
    ),
    ReportedError(ShuttingDown(), Code.UNAVAILABLE, "UNAVAILABLE", (details.RetryInfo,)),
    ReportedError(
        CredentialsRefused(SECRET, held_for_s=1),
        Code.UNAVAILABLE,
        "UNAVAILABLE",
        (details.RetryInfo,),
    ),
]
# An error of these classes in a caller's hands would be a bug.
OPAQUE = [
    PermanentError("NO_ACCESS", SECRET),
    TransientError("CORRUPT", SECRET),
    Doubted(SECRET, "0" * 64),
    TooFast(SECRET, retry_after_s=1),
    LeaseLost(SECRET),
    ConfigurationError(SECRET),
    ValueError(SECRET),
]


def _classes(root: type[AutosError]) -> Iterator[type[AutosError]]:
    yield root
    for each in root.__subclasses__():
        yield from _classes(each)


def _all_classes() -> set[type[AutosError]]:
    """Return every class of errors that the server can raise, in whichever module."""
    for package in (server, storage):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # Migrations and entry points raise errors that other modules define.
            if "__main__" not in module.name and ".migrations" not in module.name:
                importlib.import_module(module.name)
    packages = (server.__name__, storage.__name__)
    return {each for each in _classes(AutosError) if each.__module__.startswith(packages)}


def _taken_apart(error: BaseException) -> tuple[status_pb2.Status, dict[str, str | bytes]]:
    trailers = dict(errors.status_of(error).trailing_metadata)
    rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    return rich, trailers


def _detail(rich: status_pb2.Status, kind: type[Message]) -> Message:
    [packed] = [each for each in rich.details if each.Is(kind.DESCRIPTOR)]
    message = kind()
    packed.Unpack(message)
    return message


def test_every_class_of_errors_is_tested_here() -> None:
    assert {type(reported.error) for reported in TOLD} | {
        type(error) for error in OPAQUE if isinstance(error, AutosError)
    } == _all_classes() - BASES


@pytest.mark.parametrize("reported", TOLD, ids=lambda reported: type(reported.error).__name__)
def test_an_error_of_a_caller_has_one_status_with_its_details(reported: ReportedError) -> None:
    rich, trailers = _taken_apart(reported.error)

    assert sum(isinstance(reported.error, kind) for kind, _ in errors._TABLE) == 1
    assert errors.status_of(reported.error).code == reported.code
    info = _detail(rich, details.ErrorInfo)
    assert (info.domain, info.reason) == ("autos", reported.reason)  # type: ignore[attr-defined]
    assert len(rich.details) == 1 + len(reported.details)
    assert all(_detail(rich, kind) != kind() for kind in reported.details)
    assert (errors.PUSHBACK in trailers) == (details.RetryInfo in reported.details)
    if details.RetryInfo in reported.details:
        delay = _detail(rich, details.RetryInfo).retry_delay  # type: ignore[attr-defined]
        assert trailers[errors.PUSHBACK] == str(delay.ToMilliseconds())
    assert SECRET not in str(rich)


@pytest.mark.parametrize("error", OPAQUE, ids=lambda error: type(error).__name__)
def test_any_other_error_shows_only_its_log_id(error: Exception) -> None:
    rich, trailers = _taken_apart(error)

    [packed] = rich.details
    info = _detail(rich, details.ErrorInfo)
    assert errors.status_of(error).code == Code.INTERNAL
    assert info.reason == "INTERNAL"  # type: ignore[attr-defined]
    assert info.metadata["error_id"] in rich.message  # type: ignore[attr-defined]
    assert SECRET not in rich.message + str(packed)
    assert not any(SECRET in str(trailer) for trailer in trailers.values())
