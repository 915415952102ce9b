"""Test that the client resumes a watch that a proxy has cut, as the contract describes it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from autos import Client, pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.errors import status_of
from storage.errors import NotFound

JOB_ID = "3c4e47ff-d6e0-4ccd-8686-fe6a87b0b785"
# Of Connect, Envoy, haproxy, nginx, and of a proxy that ends the stream as if it were complete.
CUTS = (
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    None,
)


class _CutServer(pb_grpc.DownloadServiceServicer):
    """Cuts the stream once for each of CUTS, then streams the end of the job."""

    def __init__(self) -> None:
        self.after: list[int] = []

    def WatchProgress(  # noqa: N802
        self, request: pb.WatchProgressRequest, context: Any
    ) -> Iterator[pb.WatchProgressResponse]:
        turn, after = len(self.after), request.after_revision
        self.after.append(after)
        is_end = turn == len(CUTS)
        state = pb.JOB_STATE_COMPLETED if is_end else pb.JOB_STATE_PROCESSING
        job = pb.Job(job_id=JOB_ID, revision=turn + 1, state=state)
        yield pb.WatchProgressResponse(revision=after, job=job)
        if is_end:
            yield pb.WatchProgressResponse(revision=turn + 1, job=job)
            return
        document = pb.Document(document_id="any", revision=turn + 1)
        yield pb.WatchProgressResponse(revision=turn + 1, document=document)
        if code := CUTS[turn]:
            context.abort(code, "cut on the way")


class _RefusingServer(pb_grpc.DownloadServiceServicer):
    """Refuses every watch, with ErrorInfo."""

    calls = 0

    def WatchProgress(self, _: Any, context: Any) -> Iterator[pb.WatchProgressResponse]:  # noqa: N802
        self.calls += 1
        context.abort_with_status(status_of(NotFound("job", JOB_ID)))
        yield pb.WatchProgressResponse()


@pytest.fixture
def serve() -> Iterator[Any]:
    """Return a function that serves a servicer and returns its address."""
    running = grpc.server(ThreadPoolExecutor(2))

    def start(servicer: pb_grpc.DownloadServiceServicer) -> str:
        pb_grpc.add_DownloadServiceServicer_to_server(servicer, running)
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        return f"127.0.0.1:{port}"

    yield start
    running.stop(0).wait()


def test_a_stream_cut_without_error_info_is_resumed_after_its_revision(serve: Any) -> None:
    server = _CutServer()
    with Client(serve(server)) as client:
        messages = list(client.watch(JOB_ID))

    changes = [message.revision for message in messages if message.HasField("document")]
    assert changes == [1, 2, 3, 4, 5]
    assert messages[-1].job.state == pb.JOB_STATE_COMPLETED
    assert server.after == [0, *changes]


def test_a_refusal_with_error_info_is_not_repeated(serve: Any) -> None:
    server = _RefusingServer()
    with Client(serve(server)) as client, pytest.raises(Exception, match="There is no job"):
        list(client.watch(JOB_ID))
    assert server.calls == 1


class _RestartedServer(pb_grpc.DownloadServiceServicer):
    """Answers ListEvents with an event, then is unavailable three times, then with another."""

    def __init__(self) -> None:
        self.after: list[str] = []

    def ListEvents(  # noqa: N802
        self, request: pb.ListEventsRequest, context: Any
    ) -> pb.ListEventsResponse:
        self.after.append(request.after_cursor)
        if 1 < len(self.after) < 5:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarted")
        return pb.ListEventsResponse(events=[pb.Event(cursor=f"cursor {len(self.after)}")])


def test_followed_events_outlast_the_limit_of_a_call(serve: Any) -> None:
    server = _RestartedServer()
    # A limit in which no call can be answered: it does not hold while events are followed.
    with Client(serve(server), timeout_s=0.001) as client:
        events = client.events(follow=True)
        cursors = [next(events).cursor, next(events).cursor]

    assert cursors == ["cursor 1", "cursor 5"]
    assert server.after == ["", *["cursor 1"] * 4]
