"""The messages of a stream in serialized form. Each is serialized once for all of its watchers.

Two serialized protobuf messages, one after the other, are one message with the fields of both.
So a watcher's own revision is put in front of a job that was serialized once.
"""

from __future__ import annotations

from typing import NamedTuple

from autos.downloads.v1 import downloads_pb2 as pb

_HEARTBEAT = pb.WatchProgressResponse(heartbeat=pb.Heartbeat()).SerializeToString()


class SerializedDocument(NamedTuple):
    """A document that changed, with its serialized message."""

    document_id: str
    revision: int
    message: bytes


def serialize_document(document: pb.Document) -> SerializedDocument:
    """Serialize a document's message with the current time."""
    message = pb.WatchProgressResponse(revision=document.revision, document=document)
    message.event_time.GetCurrentTime()
    return SerializedDocument(document.document_id, document.revision, message.SerializeToString())


def heartbeat(revision: int) -> bytes:
    """Return a serialized heartbeat. `revision`: the watcher's."""
    return envelope_prefix(revision) + _HEARTBEAT


def envelope_prefix(revision: int) -> bytes:
    """Return the serialized prefix of each message: the watcher's revision and the current time."""
    message = pb.WatchProgressResponse(revision=revision)
    message.event_time.GetCurrentTime()
    return message.SerializeToString()
