"""Conversion of jobs and documents to the contract's messages, and the messages of a stream.

A message of a stream is serialized once for all of its watchers. Two serialized protobuf messages,
one after the other, are one message with the fields of both. So a watcher's own revision is put in
front of a job that was serialized once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from actors.contract_messages import document_message, job_message, timestamp, webhook_message
from autos.downloads.v1 import downloads_pb2 as pb
from server.queue.queue_view import QueueStatus
from storage.records import DocumentRecord, JobView, is_sealed
from storage.webhook_policy import display

_HEARTBEAT = pb.WatchProgressResponse(heartbeat=pb.Heartbeat()).SerializeToString()


def message_of(view: JobView, place: QueueStatus | None = None) -> pb.Job:
    """Return the message of a job, with its queue status if `place` is given."""
    webhooks = [webhook_message(w, display(w.url)) for w in view.webhooks]
    message = job_message(view.job, webhooks)
    if place is not None:
        set_place(message, place)
    return message


def set_place(job: pb.Job, place: QueueStatus) -> None:
    """Replace the queue position in a Job message by the current one."""
    for field in ("queue_position", "estimated_end_time", "hold"):
        job.ClearField(field)
    current = pb.Job(
        queue_position=place.queue_position,
        estimated_end_time=timestamp(place.estimated_end_time),
    )
    if place.hold is not None:
        current.hold.reason, current.hold.message = place.hold.reason, place.hold.message
        if place.hold.until_time is not None:
            current.hold.until_time.FromDatetime(place.hold.until_time)
    job.MergeFrom(current)
    if job.HasField("not_before_time") and job.not_before_time.ToDatetime(UTC) > datetime.now(UTC):
        _hold_until(job, job.not_before_time)


def _hold_until(job: pb.Job, begin: Timestamp) -> None:
    """Replace the queue status of a job that waits for its own time."""
    job.ClearField("queue_position")
    job.ClearField("estimated_end_time")
    hold = pb.Hold(
        reason="NOT_BEFORE", message="The job waits for its not_before_time.", until_time=begin
    )
    job.hold.CopyFrom(hold)


def shown(document: DocumentRecord, case_level: int | None) -> pb.Document:
    """Return the message of a document. `case_level`: the secrecy level of its case."""
    sealed = is_sealed(case_level, document.secrecy_level)
    return document_message(document, is_sealed=sealed)


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
