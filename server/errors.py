"""The one table from our errors to gRPC statuses and their details."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from storage.errors import (
    AutosError,
    CallerError,
    CaseNotAllowed,
    EventsGone,
    InvalidRequest,
    LimitReached,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
)

DOMAIN = "autos"
RETRY_MS = 1_000
# Watchers a second that a server that has just started accepts without delaying other calls.
CALLERS_PER_S = 1_000
PUSHBACK = "grpc-retry-pushback-ms"

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class MalformedRequest(CallerError):
    """The bytes are not a valid request of the method."""

    reason = "MALFORMED_REQUEST"

    def __init__(self) -> None:
        super().__init__(
            "The bytes are not a request of this method; "
            "encode it as the contract says, strings in UTF-8."
        )


class LateRequest(MalformedRequest):
    """The request did not arrive whole within `limit_s` seconds."""

    def __init__(self, limit_s: float) -> None:
        CallerError.__init__(
            self, f"The request did not arrive within {limit_s:.0f} s; send it at once."
        )


class Unauthenticated(CallerError):
    """The caller cannot be identified."""


class NoToken(Unauthenticated):
    """The call has neither a token nor a certificate of a known client."""

    reason = "NO_TOKEN"

    def __init__(self) -> None:
        super().__init__(
            "Only known clients are served; send your token as metadata"
            ' "authorization: Bearer <token>".'
        )


class UnknownToken(Unauthenticated):
    """No client has this token, or the token was removed."""

    reason = "UNKNOWN_TOKEN"

    def __init__(self) -> None:
        super().__init__("No client has this token; it may have been taken out.")


class ShuttingDown(ServiceUnavailable):
    """This process is stopping; another server process serves the same jobs.

    `callers`: how many callers get this error. Their retry delays are spread accordingly.
    """

    def __init__(self, callers: int = 1) -> None:
        super().__init__("This server process")
        self.spread_ms = RETRY_MS * max(1.0, callers / CALLERS_PER_S)


class Status(NamedTuple):
    """The argument of grpc's abort_with_status: a grpc.Status with additional trailers."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: Sequence[tuple[str, str | bytes]]


def status_of(error: BaseException) -> Status:
    """Return the status of `error` for the caller. The text of an unknown error is hidden."""
    for kind, answer in _TABLE:
        if isinstance(error, kind):
            code, text, details = answer(error)
            return _status(code, text, details)
    return _unknown(error)


Answer = tuple[int, str, list[Message]]


def _plain(code: int) -> Callable[[Any], Answer]:
    """Return a function that answers an error with `code`, and no details but its reason."""
    return lambda error: (code, str(error), [_info(error.reason)])


def _invalid(error: InvalidRequest) -> Answer:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
        for v in error.violations
    ]
    details = [_info(error.reason), error_details_pb2.BadRequest(field_violations=violations)]
    return code_pb2.INVALID_ARGUMENT, str(error), details


def _not_found(error: NotFound) -> Answer:
    resource = error_details_pb2.ResourceInfo(
        resource_type=f"autos.downloads.v1.{error.resource_type.capitalize()}",
        resource_name=error.resource_name,
        description=str(error),
    )
    return code_pb2.NOT_FOUND, str(error), [_info(error.reason), resource]


def _precondition(error: PreconditionFailed) -> Answer:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=error.subject, description=str(error)
    )
    failure = error_details_pb2.PreconditionFailure(violations=[violation])
    return code_pb2.FAILED_PRECONDITION, str(error), [_info(error.reason), failure]


def _limit_reached(error: LimitReached) -> Answer:
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=f"client:{error.client}",
        description=str(error),
        quota_id=error.name,
        quota_value=error.limit,
    )
    failure = error_details_pb2.QuotaFailure(violations=[violation])
    info = _info(error.reason, limit=str(error.limit))
    # The jitter only adds delay: an earlier retry would be refused again.
    retry = _retry_after(error.retry_in_s * 1000 * random.uniform(1.0, 1.25))
    return code_pb2.RESOURCE_EXHAUSTED, str(error), [info, failure, retry]


def _unavailable(error: ServiceUnavailable) -> Answer:
    # The jitter spreads the retries of all callers that meet the same outage.
    spread_ms = error.spread_ms if isinstance(error, ShuttingDown) else RETRY_MS
    retry = _retry_after(RETRY_MS / 2 + random.uniform(0, spread_ms))
    return code_pb2.UNAVAILABLE, f"{error} Try again.", [_info(error.reason), retry]


def _retry_after(delay_ms: float) -> Message:
    delay = Duration()
    delay.FromMilliseconds(math.ceil(delay_ms))
    retry: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return retry


_TABLE: tuple[tuple[type[AutosError], Callable[[Any], Answer]], ...] = (
    (InvalidRequest, _invalid),
    (MalformedRequest, _plain(code_pb2.INVALID_ARGUMENT)),
    (Unauthenticated, _plain(code_pb2.UNAUTHENTICATED)),
    (NotFound, _not_found),
    (CaseNotAllowed, _plain(code_pb2.PERMISSION_DENIED)),
    (PreconditionFailed, _precondition),
    (EventsGone, _plain(code_pb2.OUT_OF_RANGE)),
    (LimitReached, _limit_reached),
    (ServiceUnavailable, _unavailable),
)


def _unknown(error: BaseException) -> Status:
    error_id = uuid4().hex
    log.error("bug", error_id=error_id, exc_info=error)
    text = f"Internal error {error_id}. It has been logged; nothing of yours is lost."
    return _status(code_pb2.INTERNAL, text, [_info("INTERNAL", error_id=error_id)])


def _info(reason: str, **metadata: str) -> Message:
    info: Message = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    return info


def _status(code: int, text: str, details: list[Message]) -> Status:
    packed = []
    for detail in details:
        any_message = any_pb2.Any()
        any_message.Pack(detail)
        packed.append(any_message)
    rich = rpc_status.to_status(status_pb2.Status(code=code, message=text, details=packed))
    trailers = [*rich.trailing_metadata, *_pushback(details)]
    return Status(rich.code, rich.details, tuple(trailers))


def _pushback(details: list[Message]) -> list[tuple[str, str]]:
    # gRPC's own clients obey this retry hint and no other.
    return [
        (PUSHBACK, str(detail.retry_delay.ToMilliseconds()))
        for detail in details
        if isinstance(detail, error_details_pb2.RetryInfo)
    ]
