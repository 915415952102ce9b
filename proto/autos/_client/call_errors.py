"""Errors of calls: gRPC's errors as AutosError, with the details of google.rpc.Status."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from autos import errors

DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
# The codes that a broken network, a proxy or a killed server causes.
BROKEN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
_KINDS: dict[grpc.StatusCode, type[errors.AutosError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.NotPossible,
    grpc.StatusCode.UNAUTHENTICATED: errors.NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotAllowed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.LimitReached,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
}
M = TypeVar("M", bound=Message)


def refusal(error: Any, address: str) -> errors.AutosError:
    """Return the AutosError for a grpc.RpcError. `address`: the address of the server."""
    code, text = error.code(), error.details() or ""
    trailers = dict(error.trailing_metadata() or ())
    status = _status(trailers)
    info = _detail(status, error_details_pb2.ErrorInfo)
    if info is None and code in BROKEN:
        return errors.Unavailable(_no_answer(text, address), reason=code.name)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.Unavailable(f"{address} did not answer in time.", reason=code.name)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        text = f"{address} is not Autos, or an older version: {text or 'unknown method'}."
    return _KINDS.get(code, errors.ServerBug)(
        _with_fields(text, bad := _violations(status)),
        reason=code.name if info is None else info.reason,
        metadata=None if info is None else info.metadata,
        violations=bad,
        retry_delay_s=_retry_delay_s(status, trailers),
    )


def _no_answer(text: str, address: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        hint = "Neither the CA file nor the system trusts its certificate."
    elif "handshake" in text.lower() and "WRONG_VERSION_NUMBER" in text:
        hint = "It does not use TLS: leave out the CA file and https://."
    else:
        hint = "Is the server running there, and with TLS if and only if this side uses it?"
    return f"No answer from Autos at {address} ({text or 'the connection broke'}). {hint}"


def _with_fields(text: str, violations: dict[str, str]) -> str:
    """Return the text, extended by the violations that it does not contain."""
    untold = [f"{field}: {why}" for field, why in violations.items() if why not in text]
    return " ".join([text, *untold])


def _status(trailers: dict[str, Any]) -> status_pb2.Status:
    status = status_pb2.Status()
    try:
        status.ParseFromString(trailers.get(DETAILS, b""))
    except DecodeError:
        status.Clear()  # not from Autos, perhaps from a proxy; only the code counts
    return status


def _detail(status: status_pb2.Status, kind: type[M]) -> M | None:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            message = kind()
            packed.Unpack(message)
            return message
    return None


def _violations(status: status_pb2.Status) -> dict[str, str]:
    bad_request = _detail(status, error_details_pb2.BadRequest)
    if bad_request is None:
        return {}
    return {each.field: each.description for each in bad_request.field_violations}


def _retry_delay_s(status: status_pb2.Status, trailers: dict[str, Any]) -> float | None:
    retry = _detail(status, error_details_pb2.RetryInfo)
    if retry is not None:
        delay_s: float = retry.retry_delay.ToTimedelta().total_seconds()
        return delay_s
    pushback = str(trailers.get(PUSHBACK, ""))
    # If the value is not a number of milliseconds, the server requests no retry.
    return int(pushback) / 1000 if pushback.isdigit() else None
