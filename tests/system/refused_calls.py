"""Parse rejected calls: the status code, the text and google.rpc's details."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.contract_reasons import reasons_of
from tests.system.running_autos import Autos

# Names that only our code, our libraries or our database could put into a text.
LEAKS = re.compile(
    r"[A-Za-z](Error|Exception|Violation)\b|Traceback|psycopg|peewee|redis|dramatiq|minio"
    r"|\b(SELECT|INSERT|UPDATE|DELETE|FROM|WHERE)\b|\b(storage|server|actors)[./]|\.py\b|<class"
    r"|\bNone\b|object at 0x"
)
# More would not fit into the trailers that clients accept by default, 8 KiB in all.
MAX_TEXT = 2_000
STREAMS = {"WatchProgress", "GetCaseListing"}


@dataclass(frozen=True)
class RefusedCall:
    """The error of a rejected call. `fields`: the violations by field."""

    code: grpc.StatusCode
    text: str
    domain: str
    reason: str
    fields: dict[str, str]
    resource: tuple[str, str] | None
    precondition: tuple[str, str] | None
    retry_after_s: float | None

    @property
    def all_text(self) -> str:
        """Return all text of the error."""
        return "\n".join((self.text, self.reason, *self.fields, *self.fields.values()))


def call(autos: Autos, method: str, request: Message) -> Any:
    """Return the response of a method, or the list of messages of a stream."""
    answer = getattr(autos.api, method)(request, timeout=60)
    return list(answer) if method in STREAMS else answer


def refusal(autos: Autos, method: str, request: Message) -> RefusedCall:
    """Return the error that rejects `request`.

    The check fails if the call succeeds, if the error leaks internals, or if the method does not
    promise its reason.
    """
    found = refused(lambda: call(autos, method, request))
    assert found.reason in reasons_of(method), found.reason
    return found


def refused(attempt: Callable[[], object]) -> RefusedCall:
    """Return the error that rejects `attempt`; fail if there is none or if it leaks internals."""
    with pytest.raises(grpc.RpcError) as caught:
        attempt()
    return refusal_of(caught.value)


def refusal_of(error: grpc.RpcError) -> RefusedCall:
    """Parse an error; fail if it leaks internals."""
    found = _taken_apart(error)
    leak = LEAKS.search(found.all_text)
    assert leak is None, found.all_text
    assert len(found.all_text) <= MAX_TEXT, found.all_text
    return found


def _taken_apart(error: Any) -> RefusedCall:
    status = rpc_status.from_call(error)
    assert status is not None, (error.code(), error.details())
    info = _detail(status, error_details_pb2.ErrorInfo)
    bad_request = _detail(status, error_details_pb2.BadRequest)
    resource = _detail(status, error_details_pb2.ResourceInfo)
    failure = _detail(status, error_details_pb2.PreconditionFailure)
    retry = _detail(status, error_details_pb2.RetryInfo)
    violations = bad_request.field_violations if bad_request else ()
    fields = {violation.field: violation.description for violation in violations}
    assert len(fields) == len(violations), "a field is named twice"
    assert info, "every refusal has an ErrorInfo"
    return RefusedCall(
        code=error.code(),
        text=error.details(),
        domain=info.domain,
        reason=info.reason,
        fields=fields,
        resource=(resource.resource_type, resource.resource_name) if resource else None,
        precondition=(failure.violations[0].type, failure.violations[0].subject)
        if failure
        else None,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _detail(status: Any, kind: Any) -> Any:
    """Return the one detail of this kind, or None."""
    found = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) <= 1
    if not found:
        return None
    message = kind()
    found[0].Unpack(message)
    return message
