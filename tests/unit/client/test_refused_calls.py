"""Test the errors of the client: they are the server's table of errors, parsed again."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from autos._client.refusals import refusal
from autos.errors import (
    AutosError,
    InvalidRequest,
    LimitReached,
    NotAllowed,
    NotFound,
    NotPossible,
    ServerBug,
    Unavailable,
)
from server.errors.error_statuses import status_of
from storage import errors as theirs

ADDRESS = "127.0.0.1:50051"


class Broken(grpc.RpcError):
    """An error as gRPC returns it."""

    def __init__(self, code: grpc.StatusCode, details: str | None, *trailers: Any) -> None:
        self._told = (code, details, trailers)

    def code(self) -> grpc.StatusCode:
        return self._told[0]

    def details(self) -> str | None:
        return self._told[1]

    def trailing_metadata(self) -> Any:
        return self._told[2]


def _answered(error: Exception) -> AutosError:
    """Return the client's error for the status that the server sends for `error`."""
    status = status_of(error)
    broken = Broken(status.code, status.details, *status.trailing_metadata)
    return refusal(broken, ADDRESS)


def test_a_wrong_request_names_its_fields() -> None:
    told = _answered(
        theirs.InvalidRequest(
            theirs.FieldViolation("process_number", "is wrong."),
            theirs.FieldViolation("max_age", "is negative."),
        )
    )

    assert type(told) is InvalidRequest
    assert told.reason == "INVALID_REQUEST"
    assert told.violations == {"process_number": "is wrong.", "max_age": "is negative."}
    assert "is wrong." in str(told)
    assert "is negative." in str(told)
    assert not told.is_passing


def test_an_unavailable_part_has_a_retry_delay() -> None:
    told = _answered(theirs.ServiceUnavailable("The database"))

    assert type(told) is Unavailable
    assert told.is_passing
    assert told.retry_delay_s is not None
    assert 0.5 <= told.retry_delay_s <= 1.5


def test_a_bug_gives_its_id() -> None:
    told = _answered(RuntimeError("secret"))

    assert type(told) is ServerBug
    assert not told.is_passing
    assert told.metadata["error_id"] in str(told)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, NotPossible),
        (grpc.StatusCode.UNAUTHENTICATED, NotAllowed),
        (grpc.StatusCode.PERMISSION_DENIED, NotAllowed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, LimitReached),
        (grpc.StatusCode.DATA_LOSS, ServerBug),
    ],
)
def test_a_status_without_details_has_its_kind(
    code: grpc.StatusCode, kind: type[AutosError]
) -> None:
    told = refusal(Broken(code, "so it is"), ADDRESS)

    assert type(told) is kind
    assert (str(told), told.reason, told.is_passing) == ("so it is", code.name, False)


def test_a_limit_passes_when_the_server_gave_a_delay() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    told = refusal(Broken(code, "too many", ("grpc-retry-pushback-ms", "2500")), ADDRESS)
    never = refusal(Broken(code, "too many", ("grpc-retry-pushback-ms", "-1")), ADDRESS)

    assert (told.is_passing, told.retry_delay_s) == (True, 2.5)
    assert not never.is_passing


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "ABORTED"])
def test_what_breaks_on_the_way_is_no_answer_and_names_the_address(code: str) -> None:
    told = refusal(Broken(grpc.StatusCode[code], "Socket closed"), ADDRESS)

    assert type(told) is Unavailable
    assert told.is_passing
    assert ADDRESS in str(told)
    assert "Socket closed" in str(told)


def test_garbage_in_the_details_hides_nothing() -> None:
    garbage = ("grpc-status-details-bin", b"\xff\xff\xff")

    told = refusal(Broken(grpc.StatusCode.NOT_FOUND, "no job", garbage), ADDRESS)

    assert (type(told), str(told)) == (NotFound, "no job")
