"""Test that log lines name the requested job, and no text that an unknown caller invents."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
import structlog

from autos.downloads.v1 import downloads_pb2 as pb
from server.observability.rpc_traces import JobLogContextInterceptor

JOB = "3c4e47ff-d6e0-4ccd-8686-fe6a87b0b785"


async def _named_after(request: Any) -> object:
    async def fails(_request: Any, _context: Any) -> None:
        raise ZeroDivisionError

    async def found(_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(cast("Any", fails))

    handler = await JobLogContextInterceptor().intercept_service(found, cast("Any", None))
    with pytest.raises(ZeroDivisionError):
        await handler.unary_unary(request, None)
    # The place where a failed call's error is logged.
    return structlog.contextvars.get_contextvars().get("job_id")


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (pb.GetStatusRequest(job_id=JOB), JOB),
        (pb.GetStatusRequest(process_number="1003579-22.2025.8.26.0564"), None),
        (pb.CancelJobRequest(job_id="a stranger's words\n"), None),
        (pb.StartDownloadRequest(), None),
    ],
)
def test_the_lines_of_a_call_name_its_job(request_: Any, named: str | None) -> None:
    assert asyncio.run(_named_after(request_)) == named
    assert "job_id" not in structlog.contextvars.get_contextvars()
