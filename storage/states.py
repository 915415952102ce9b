"""The states of jobs, documents and webhooks, and every legal move.

Pure: no I/O, no clock. All code that writes a state uses `sources_of`, so an UPDATE can only follow
an arrow in this file. The names are the contract's without their prefix.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The life cycle of a job."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    PARTIALLY_COMPLETED = "PARTIALLY_COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class DocumentState(StrEnum):
    """The life cycle of a document."""

    PENDING = "PENDING"
    DOWNLOADING = "DOWNLOADING"
    DOWNLOADED = "DOWNLOADED"
    AVAILABLE = "AVAILABLE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


class WebhookState(StrEnum):
    """The life cycle of one webhook of a job."""

    WAITING = "WAITING"
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


State = JobState | DocumentState | WebhookState

JOB_ENDS = frozenset(
    {JobState.COMPLETED, JobState.PARTIALLY_COMPLETED, JobState.FAILED, JobState.CANCELLED}
)
JOB_RUNNING = frozenset(JobState) - JOB_ENDS
DOCUMENT_ENDS = frozenset({DocumentState.AVAILABLE, DocumentState.FAILED, DocumentState.CANCELLED})
# The documents that the end of a run waits for. SKIPPED is neither open nor an end.
DOCUMENT_OPEN = frozenset(DocumentState) - DOCUMENT_ENDS - {DocumentState.SKIPPED}
# The states between claim and bucket, which count against a job's lanes.
IN_LANE = frozenset({DocumentState.DOWNLOADING, DocumentState.DOWNLOADED})

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    # A job with every document stored ends in the transaction that makes it, so PENDING may end as
    # COMPLETED.
    JobState.PENDING: JOB_ENDS | {JobState.PROCESSING},
    JobState.PROCESSING: JOB_ENDS,
    JobState.COMPLETED: frozenset(),
    # RetryJob runs the failed documents again.
    JobState.PARTIALLY_COMPLETED: frozenset({JobState.PROCESSING}),
    JobState.FAILED: frozenset({JobState.PROCESSING}),
    JobState.CANCELLED: frozenset({JobState.PROCESSING}),
}

DOCUMENT_MOVES: dict[DocumentState, frozenset[DocumentState]] = {
    DocumentState.PENDING: frozenset(
        {DocumentState.DOWNLOADING, DocumentState.FAILED, DocumentState.CANCELLED}
    ),
    DocumentState.DOWNLOADING: frozenset(
        {
            DocumentState.DOWNLOADED,
            DocumentState.AVAILABLE,  # stored directly by the worker that fetched it
            DocumentState.PENDING,  # a transient failure, or a lost lease
            DocumentState.FAILED,
            DocumentState.CANCELLED,
        }
    ),
    DocumentState.DOWNLOADED: frozenset(
        {
            DocumentState.AVAILABLE,
            DocumentState.PENDING,  # the spool file or its spool is gone
            DocumentState.FAILED,
            DocumentState.CANCELLED,
        }
    ),
    DocumentState.AVAILABLE: frozenset(),
    # RetryJob fetches it again, unless another job has stored it since.
    DocumentState.FAILED: frozenset({DocumentState.PENDING, DocumentState.AVAILABLE}),
    DocumentState.CANCELLED: frozenset(),
    # A call with a wider selection joined the running job: the document is fetched, unless another
    # job has stored it or it can never be requested.
    DocumentState.SKIPPED: frozenset(
        {DocumentState.PENDING, DocumentState.AVAILABLE, DocumentState.FAILED}
    ),
}

WEBHOOK_MOVES: dict[WebhookState, frozenset[WebhookState]] = {
    WebhookState.WAITING: frozenset({WebhookState.PENDING}),
    WebhookState.PENDING: frozenset(
        {WebhookState.DELIVERED, WebhookState.FAILED, WebhookState.WAITING}
    ),
    # RetryJob makes it wait for the new end; RedeliverWebhook sends the old event again.
    WebhookState.DELIVERED: frozenset({WebhookState.WAITING, WebhookState.PENDING}),
    WebhookState.FAILED: frozenset({WebhookState.WAITING, WebhookState.PENDING}),
}


def sources_of(target: State) -> tuple[str, ...]:
    """Return the states that may move to `target`, sorted, for the WHERE of an UPDATE."""
    return tuple(sorted(source for source in type(target) if target in moves_from(source)))


def moves_from(source: State) -> frozenset[State]:
    """Return the states that `source` may move to."""
    # Three tables: StrEnum members of two kinds are equal if their texts are equal.
    match source:
        case JobState():
            return frozenset(JOB_MOVES[source])
        case DocumentState():
            return frozenset(DOCUMENT_MOVES[source])
        case WebhookState():
            return frozenset(WEBHOOK_MOVES[source])
