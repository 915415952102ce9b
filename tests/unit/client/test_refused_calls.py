"""Test the errors of the client: they are the server's table of errors, parsed again."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from autos._client.call_errors import refusal
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
from server.errors import status_of
from storage import errors as theirs

ADDRESS = "127.0.0.1:50051"


class Broken(grpc.RpcError):
    """An error as gRPC returns it."""

    def __init__(self, code: grpc.StatusCode, details: str | None, *trailers: Any) -> None:
        self._values = (code, details, trailers)

    def code(self) -> grpc.StatusCode:
        return self._values[0]

    def details(self) -> str | None:
        return self._values[1]

    def trailing_metadata(self) -> Any:
        return self._values[2]


def _answered(error: Exception) -> AutosError:
    """Return the client's error for the status that the server sends for `error`."""
    status = status_of(error)
    broken = Broken(status.code, status.details, *status.trailing_metadata)
    return refusal(broken, ADDRESS)


def test_a_wrong_request_names_its_fields() -> None:
    caught = _answered(
        theirs.InvalidRequest(
            theirs.FieldViolation("process_number", "is wrong."),
            theirs.FieldViolation("max_age", "is negative."),
        )
    )

    assert type(caught) is InvalidRequest
    assert caught.reason == "INVALID_REQUEST"
    assert caught.violations == {"process_number": "is wrong.", "max_age": "is negative."}
    assert "is wrong." in str(caught)
    assert "is negative." in str(caught)
    assert not caught.is_passing


def test_an_unavailable_part_has_a_retry_delay() -> None:
    caught = _answered(theirs.ServiceUnavailable("The database"))

    assert type(caught) is Unavailable
    assert caught.is_passing
    assert caught.retry_delay_s is not None
    assert 0.5 <= caught.retry_delay_s <= 1.5


def test_a_bug_gives_its_id() -> None:
    caught = _answered(RuntimeError("secret"))

    assert type(caught) is ServerBug
    assert not caught.is_passing
    assert caught.metadata["error_id"] in str(caught)


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
    caught = refusal(Broken(code, "so it is"), ADDRESS)

    assert type(caught) is kind
    assert (str(caught), caught.reason, caught.is_passing) == ("so it is", code.name, False)


def test_a_limit_passes_when_the_server_gave_a_delay() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    caught = refusal(Broken(code, "too many", ("grpc-retry-pushback-ms", "2500")), ADDRESS)
    never = refusal(Broken(code, "too many", ("grpc-retry-pushback-ms", "-1")), ADDRESS)

    assert (caught.is_passing, caught.retry_delay_s) == (True, 2.5)
    assert not never.is_passing


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "ABORTED"])
def test_what_breaks_on_the_way_is_no_answer_and_names_the_address(code: str) -> None:
    caught = refusal(Broken(grpc.StatusCode[code], "Socket closed"), ADDRESS)

    assert type(caught) is Unavailable
    assert caught.is_passing
    assert ADDRESS in str(caught)
    assert "Socket closed" in str(caught)


def test_garbage_in_the_details_hides_nothing() -> None:
    garbage = ("grpc-status-details-bin", b"\xff\xff\xff")

    caught = refusal(Broken(grpc.StatusCode.NOT_FOUND, "no job", garbage), ADDRESS)

    assert (type(caught), str(caught)) == (NotFound, "no job")
