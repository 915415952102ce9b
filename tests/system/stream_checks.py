"""Read WatchProgress as a client does, and check what the contract promises of every stream."""

from __future__ import annotations

from typing import Any

from autos.downloads.v1 import downloads_pb2 as pb
from tests.system.running_autos import Autos

Message = pb.WatchProgressResponse

ENDED = {
    pb.JOB_STATE_COMPLETED,
    pb.JOB_STATE_PARTIALLY_COMPLETED,
    pb.JOB_STATE_FAILED,
    pb.JOB_STATE_CANCELLED,
}


def watch(autos: Autos, **fields: Any) -> Any:
    """Return a stream: an iterator of messages that can be cancelled."""
    return autos.api.WatchProgress(pb.WatchProgressRequest(**fields), timeout=60)


def sent_documents(messages: list[Message]) -> list[pb.Document]:
    return [message.document for message in messages if message.HasField("document")]


def assert_stream_order(messages: list[Message], after_revision: int = 0) -> None:
    """Assert that the job comes first, at the caller's revision, and documents by revision."""
    first, *rest = messages
    assert first.HasField("job")
    assert first.revision == after_revision
    assert all(message.HasField("event_time") for message in messages)
    revisions = [message.revision for message in messages]
    assert revisions == sorted(revisions)
    for message in rest:
        if message.HasField("document"):
            assert message.revision == message.document.revision
        if message.HasField("job"):
            assert message.revision == message.job.revision
    changed = [document.revision for document in sent_documents(messages)]
    assert all(revision > after_revision for revision in changed)
    assert changed == sorted(set(changed))


def assert_stream_ends(messages: list[Message]) -> pb.Job:
    last = messages[-1]
    assert last.HasField("job")
    assert last.job.state in ENDED
    assert all(m.job.state not in ENDED for m in messages[1:-1] if m.HasField("job"))
    return last.job


def place(document: pb.Document) -> int:
    return document.revision
