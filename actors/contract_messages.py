"""Build the contract's messages from plain values. No rows, no ORM: only the meaning of attributes.

The server (answers) and the actors (webhook bodies) share them, so that both give the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb


class FailureValues(Protocol):
    """The reason of a failure."""

    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def is_retryable(self) -> bool: ...


class JobValues(Protocol):
    """The values of a job."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def process_number(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def total_documents(self) -> int | None: ...
    @property
    def completed_documents(self) -> int: ...
    @property
    def failed_documents(self) -> int: ...
    @property
    def cancelled_documents(self) -> int: ...
    @property
    def reused_documents(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def secrecy_level(self) -> int | None: ...
    @property
    def failure(self) -> FailureValues | None: ...
    @property
    def create_time(self) -> datetime: ...
    @property
    def start_time(self) -> datetime | None: ...
    @property
    def update_time(self) -> datetime: ...
    @property
    def end_time(self) -> datetime | None: ...
    @property
    def expire_time(self) -> datetime | None: ...
    @property
    def priority(self) -> str: ...
    @property
    def vanished_documents(self) -> int: ...
    @property
    def vanished_document_ids(self) -> Sequence[UUID]: ...


class HoldValues(Protocol):
    """Why a job is not served now."""

    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def until_time(self) -> datetime | None: ...


class PlaceValues(Protocol):
    """The queue position of a running job at the portal, and its estimated end."""

    @property
    def queue_position(self) -> int | None: ...
    @property
    def estimated_end_time(self) -> datetime | None: ...
    @property
    def hold(self) -> HoldValues | None: ...


class DocumentValues(Protocol):
    """The values of a document."""

    @property
    def document_id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def instance(self) -> str: ...
    @property
    def filed_local_time(self) -> str: ...
    @property
    def secrecy_level(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def size_bytes(self) -> int | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def object_key(self) -> str | None: ...
    @property
    def is_unverified(self) -> bool: ...
    @property
    def attempt_count(self) -> int: ...
    @property
    def failure(self) -> FailureValues | None: ...
    @property
    def revision(self) -> int: ...


class AttemptValues(Protocol):
    """One attempt to deliver a webhook."""

    @property
    def number(self) -> int: ...
    @property
    def attempt_time(self) -> datetime: ...
    @property
    def status_code(self) -> int: ...
    @property
    def error(self) -> str: ...


class WebhookValues(Protocol):
    """The values of a webhook, with the URL that callers may see."""

    @property
    def state(self) -> str: ...
    @property
    def webhook_id(self) -> str | None: ...
    @property
    def attempt_count(self) -> int: ...
    @property
    def last_status_code(self) -> int: ...
    @property
    def last_error(self) -> str: ...
    @property
    def delivered_time(self) -> datetime | None: ...
    @property
    def next_attempt_time(self) -> datetime | None: ...
    @property
    def attempts(self) -> Sequence[AttemptValues]: ...


# Protobuf's own conversion takes three times as long.
_EPOCH, _DAY_S = datetime(1970, 1, 1, tzinfo=UTC), 86_400


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a Timestamp; None stays None, which leaves the field unset."""
    if moment is None:
        return None
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * _DAY_S + since.seconds, nanos=since.microseconds * 1000)


def percent(completed: int, total: int | None) -> float:
    """Return 100 x completed / total, to one decimal. Only a complete job has 100.0.

    8 of 43 is 18.6. 0 until the case is listed, 100 for a case without documents.
    """
    if total is None:
        return 0.0
    if completed >= total:
        return 100.0
    return min(99.9, round(100 * completed / total, 1))


def job_message(
    job: JobValues, webhooks: Iterable[pb.Webhook] = (), place: PlaceValues | None = None
) -> pb.Job:
    """Return the Job message of a job. Only a running job has a `place`."""
    done = job.completed_documents + job.failed_documents + job.cancelled_documents
    message = pb.Job(
        job_id=str(job.job_id),
        process_number=job.process_number,
        state=f"JOB_STATE_{job.state}",
        revision=job.revision,
        progress=pb.Progress(
            total_documents=job.total_documents,
            completed_documents=job.completed_documents,
            failed_documents=job.failed_documents,
            pending_documents=(job.total_documents or 0) - done,
            cancelled_documents=job.cancelled_documents,
            reused_documents=job.reused_documents,
            stored_bytes=job.stored_bytes,
            percent=percent(job.completed_documents, job.total_documents),
        ),
        error=_error(job.failure),
        webhooks=webhooks,
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        update_time=timestamp(job.update_time),
        end_time=timestamp(job.end_time),
        expire_time=timestamp(job.expire_time),
        secrecy_level=job.secrecy_level,
        priority=f"PRIORITY_{job.priority}",
        vanished_documents=job.vanished_documents,
        vanished_document_ids=map(str, job.vanished_document_ids),
        # Not listed yet, or without a level: its secrecy is unknown.
        sealed=job.secrecy_level != 0,
    )
    if place is not None:
        set_place(message, place)
    return message


def set_place(job: pb.Job, place: PlaceValues) -> None:
    """Replace the queue position in a Job message by the current one."""
    for field in ("queue_position", "estimated_end_time", "hold"):
        job.ClearField(field)
    told = pb.Job(
        queue_position=place.queue_position,
        estimated_end_time=timestamp(place.estimated_end_time),
    )
    if place.hold is not None:
        told.hold.reason, told.hold.message = place.hold.reason, place.hold.message
        if place.hold.until_time is not None:
            told.hold.until_time.FromDatetime(place.hold.until_time)
    job.MergeFrom(told)


def document_message(document: DocumentValues, *, is_sealed: bool) -> pb.Document:
    """Return the Document message of a document. `is_sealed`: it or its case is under seal."""
    return pb.Document(
        document_id=str(document.document_id),
        name=document.name,
        kind=document.kind,
        sequence=document.sequence,
        instance=document.instance,
        filed_local_time=document.filed_local_time,
        secrecy_level=document.secrecy_level,
        state=f"DOCUMENT_STATE_{document.state}",
        content_type=document.content_type or "",
        size_bytes=document.size_bytes or 0,
        sha256=document.sha256 or "",
        object_key=document.object_key or "",
        attempt_count=document.attempt_count,
        error=_error(document.failure),
        revision=document.revision,
        unverified=document.is_unverified,
        sealed=is_sealed,
    )


def webhook_message(webhook: WebhookValues, shown_url: str) -> pb.Webhook:
    """Return the Webhook message of a webhook. `shown_url`: its URL without possible secrets."""
    return pb.Webhook(
        url=shown_url,
        state=f"WEBHOOK_STATE_{webhook.state}",
        attempt_count=webhook.attempt_count,
        last_status_code=webhook.last_status_code,
        last_error=webhook.last_error,
        delivered_time=timestamp(webhook.delivered_time),
        next_attempt_time=timestamp(webhook.next_attempt_time),
        webhook_id=webhook.webhook_id or "",
        attempts=[
            pb.WebhookAttempt(
                number=attempt.number,
                attempt_time=timestamp(attempt.attempt_time),
                status_code=attempt.status_code,
                error=attempt.error,
            )
            for attempt in webhook.attempts
        ],
    )


def _error(failure: FailureValues | None) -> pb.Error | None:
    if failure is None:
        return None
    return pb.Error(reason=failure.reason, message=failure.message, retryable=failure.is_retryable)
