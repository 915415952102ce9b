"""Test what the command prints about an error of the server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from autos.cli.exits import Exit
from autos.cli.main import main
from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc

CURSOR = "WyJjYmNkOWFjZWM3ZmYxZDdlIiwxMF0"


def _unavailable(context: Any) -> None:
    """Answer as Autos does, but with a delay that exceeds every limit: nothing waits for it."""
    status = status_pb2.Status(message="PostgreSQL is not available right now. Try again.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="UNAVAILABLE", domain="autos"))
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3_600)))
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNAVAILABLE, status.message)


class WithoutDatabase(pb_grpc.DownloadServiceServicer):
    """Answers as Autos does while PostgreSQL is unavailable, after one event."""

    def GetUsage(self, _: Any, context: Any) -> pb.GetUsageResponse:  # noqa: N802
        _unavailable(context)
        raise AssertionError

    def ListEvents(self, request: Any, context: Any) -> pb.ListEventsResponse:  # noqa: N802
        if request.after_cursor:
            _unavailable(context)
        return pb.ListEventsResponse(events=[pb.Event(cursor=CURSOR)])


@contextmanager
def _serving() -> Iterator[str]:
    running = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_DownloadServiceServicer_to_server(WithoutDatabase(), running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        running.stop(0).wait()


def test_an_outage_advises_once_to_try_again(capsys: pytest.CaptureFixture[str]) -> None:
    with _serving() as address:
        code = main(["usage", "--timeout", "60", "--address", address])

    assert code == Exit.UNAVAILABLE
    *_, sentence = capsys.readouterr().err.splitlines()
    assert sentence == "autos: PostgreSQL is not available right now. Try again in 1:00 h."


def test_followed_events_end_with_the_command_that_continues(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _serving() as address:
        code = main(["events", "--follow", "--patience", "60", "--address", address])

    assert code == Exit.UNAVAILABLE
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"Continue: autos events --follow --after {CURSOR}"
