"""Test the sentence of the command about an error of the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from autos.cli.exits import Exit
from autos.cli.main import main
from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.errors.error_statuses import status_of
from storage.errors import ServiceUnavailable


class WithoutDatabase(pb_grpc.DownloadServiceServicer):
    """Answers as Autos does while PostgreSQL is unavailable."""

    def GetUsage(self, _: Any, context: Any) -> pb.GetUsageResponse:  # noqa: N802
        context.abort_with_status(status_of(ServiceUnavailable("PostgreSQL")))
        raise AssertionError


def test_an_outage_advises_once_to_try_again(capsys: pytest.CaptureFixture[str]) -> None:
    running = grpc.server(ThreadPoolExecutor(2))
    pb_grpc.add_DownloadServiceServicer_to_server(WithoutDatabase(), running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        code = main(["usage", "--timeout", "0.5", "--address", f"127.0.0.1:{port}"])
    finally:
        running.stop(0).wait()

    assert code == Exit.UNAVAILABLE
    *_, sentence = capsys.readouterr().err.splitlines()
    # The server spreads the delay over half a second to one and a half.
    assert sentence in {
        f"autos: PostgreSQL is not available right now. Try again in {seconds} s."
        for seconds in (0, 1, 2)
    }
