"""The messages of a stream, as the bytes that go over the wire: made once, whoever gets them.

Two of them written one after the other are one message with the fields of both (protobuf's encoding
says so), so that a watcher's own revision is put before a job that was serialised once.
"""

from __future__ import annotations

from typing import NamedTuple

from autos.downloads.v1 import downloads_pb2 as pb

_HEARTBEAT = pb.WatchProgressResponse(heartbeat=pb.Heartbeat()).SerializeToString()


class SerializedDocument(NamedTuple):
    """A document that changed, and the message that tells it."""

    document_id: str
    revision: int
    message: bytes


def serialize_document(document: pb.Document) -> SerializedDocument:
    """A document's message, as made now."""
    message = pb.WatchProgressResponse(revision=document.revision, document=document)
    message.event_time.GetCurrentTime()
    return SerializedDocument(document.document_id, document.revision, message.SerializeToString())


def heartbeat(revision: int) -> bytes:
    """Nothing new."""
    return envelope_prefix(revision) + _HEARTBEAT


def envelope_prefix(revision: int) -> bytes:
    """What every message begins with: where its reader stands, and the time of now."""
    message = pb.WatchProgressResponse(revision=revision)
    message.event_time.GetCurrentTime()
    return message.SerializeToString()
