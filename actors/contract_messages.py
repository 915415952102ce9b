"""Build the contract's messages from the records of rows, and the events of webhooks.

The server (answers) and the actors (webhook bodies) share them, so that both give the same values.
server/messages adds what only answers have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from storage.errors import Failure
from storage.records import DocumentRecord, JobRecord, WebhookRecord, is_sealed

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

    `total`: the wanted documents. 8 of 43 is 18.6. 0 until the case is listed, 100 if no document
    is wanted.
    """
    if total is None:
        return 0.0
    if completed >= total:
        return 100.0
    return min(99.9, round(100 * completed / total, 1))


def job_message(job: JobRecord, webhooks: Iterable[pb.Webhook] = ()) -> pb.Job:
    """Return the Job message of a job, without its queue position."""
    done = job.completed_documents + job.failed_documents + job.cancelled_documents
    total = job.total_documents
    wanted = None if total is None else total - job.skipped_documents
    return pb.Job(
        job_id=str(job.job_id),
        process_number=job.process_number,
        state=f"JOB_STATE_{job.state}",
        revision=job.revision,
        progress=pb.Progress(
            total_documents=job.total_documents,
            completed_documents=job.completed_documents,
            failed_documents=job.failed_documents,
            pending_documents=(wanted or 0) - done,
            cancelled_documents=job.cancelled_documents,
            reused_documents=job.reused_documents,
            stored_bytes=job.stored_bytes,
            percent=percent(job.completed_documents, wanted),
            skipped_documents=job.skipped_documents,
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
        selections=[pb.Selection(**each) for each in job.selections or ()],
        list_only=job.selections is not None and not job.selections,
        labels=job.labels,
        batch_id=str(job.batch_id or ""),
        not_before_time=timestamp(job.not_before_time),
        unlisted_document_ids=map(str, job.unlisted_document_ids),
    )


def document_message(document: DocumentRecord, *, is_sealed: bool) -> pb.Document:
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


def webhook_message(webhook: WebhookRecord, shown_url: str) -> pb.Webhook:
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


def _error(failure: Failure | None) -> pb.Error | None:
    if failure is None:
        return None
    return pb.Error(reason=failure.reason, message=failure.message, retryable=failure.is_retryable)


URL_LIFETIME_S = 3_600
# The approximate length of a presigned URL in bytes. With it, an event that would be too large is
# recognized before thousands of URLs are signed.
URL_BYTES = 500
# A receiver may belong to others than the client. The client reads these fields with its token.
HIDDEN_IF_SEALED = ("name", "sha256", "object_key")


def event_message(
    type_: str,
    event_time: datetime,
    job: JobRecord,
    documents: Sequence[DocumentRecord],
    *,
    max_bytes: int,
    url_of: Callable[[str], tuple[str, datetime]] | None,
) -> pb.WebhookEvent:
    """Return an event. Its documents are omitted if they would exceed `max_bytes` of JSON.

    `url_of`: makes the URL of an object key and the time at which it expires; None: the event has
    no URLs. A sealed document has neither a URL nor a field that identifies it.
    """
    event = pb.WebhookEvent(
        type=type_,
        timestamp=timestamp(event_time),
        data=pb.WebhookData(
            job=job_message(job),
            documents=[
                document_message(d, is_sealed=is_sealed(job.secrecy_level, d.secrecy_level))
                for d in documents
            ],
        ),
    )
    if _is_too_large(event.data, max_bytes):
        event.data.ClearField("documents")
        event.data.documents_omitted = True
    for document in event.data.documents:
        if document.sealed:
            for field in HIDDEN_IF_SEALED:
                document.ClearField(field)
        elif document.object_key and url_of:
            url, expires = url_of(document.object_key)
            document.url = url
            document.url_expire_time.FromDatetime(expires)
    return event


def change_message(type_: str, event_time: datetime, change: Mapping[str, Any]) -> pb.WebhookEvent:
    """Return the event of a change. `change`: the column of the event."""
    fields = {**change}
    number = fields.pop("process_number")
    return pb.WebhookEvent(
        type=type_,
        timestamp=timestamp(event_time),
        data=pb.WebhookData(
            # A newer release may have recorded more than this one shows.
            change=ParseDict(fields, pb.CaseChange(), ignore_unknown_fields=True),
            process_number=number,
        ),
    )


def _is_too_large(data: pb.WebhookData, max_bytes: int) -> bool:
    urls = sum(URL_BYTES for document in data.documents if document.object_key)
    plain = compact([as_json(document) for document in data.documents])
    return len(plain) + urls > max_bytes


def compact(value: Any) -> bytes:
    """Return JSON without blanks, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
