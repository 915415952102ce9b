"""How a run ends: in the transaction that ends its last document, once, with its event."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

from storage import turns
from storage.database import Row, Transaction, in_list
from storage.errors import Failure
from storage.records import DocumentRecord, JobRecord, columns
from storage.states import JobState, WebhookState, outcome, sources_of
from storage.tallies import JOBS_ENDED

EVENT_TYPES = {
    JobState.COMPLETED: "download.completed",
    JobState.PARTIALLY_COMPLETED: "download.partially_completed",
    JobState.FAILED: "download.failed",
    JobState.CANCELLED: "download.cancelled",
}


def end_if_over(transaction: Transaction, job: Row) -> Row:
    """Ends `job` when none of its documents is left; the job as it then is.

    `job` is the row as this transaction, which holds its lock, last wrote it.
    """
    total = job["total_documents"]
    over = job["completed_documents"] + job["failed_documents"] + job["cancelled_documents"]
    if total is None or over < total or job["end_time"] is not None:
        return job
    state = outcome(
        total=total,
        completed=job["completed_documents"],
        cancelled=job["cancelled_documents"],
    )
    failure = _all_failed(transaction, job) if state is JobState.FAILED else None
    return end(transaction, job["job_id"], state, failure)


def end_of(state: str, sources: Sequence[str]) -> str:
    """SQL that ends a job as `state`, from one of the states that lead there."""
    return f"""
UPDATE jobs SET state = {state}, revision = revision + 1,
    start_time = coalesce(start_time, clock_timestamp()),
    update_time = clock_timestamp(), end_time = clock_timestamp(),
    error_reason = %(reason)s, error_message = %(message)s,
    error_is_retryable = %(is_retryable)s,
    listing_lease = NULL, listing_lease_until = NULL, listing_not_before = NULL
WHERE job_id = %(job_id)s AND state IN ({in_list(sources)})
RETURNING *
"""


def end(
    transaction: Transaction, job_id: UUID, state: JobState, failure: Failure | None = None
) -> Row:
    """Ends a run as `state` and makes its webhooks due; the job as it then is.

    The caller holds the job's lock and knows that it has not ended.
    """
    job = transaction.one(
        end_of("%(state)s", sources_of(state)),
        job_id=job_id,
        state=state,
        reason=failure.reason if failure else None,
        message=failure.message if failure else None,
        is_retryable=failure.is_retryable if failure else None,
    )
    if job is None:
        raise AssertionError(f"job {job_id} ended twice")
    transaction.count(JOBS_ENDED, state)
    turns.leave(transaction, job_id)
    _record_event(transaction, job)
    transaction.changed(job_id, job["revision"])
    return job


EVENT = f"""
INSERT INTO events (event_id, job_id, run, type, event_time, job, documents)
SELECT %(event_id)s, job_id, run, %(type)s, end_time,
    CASE WHEN is_told THEN (
        SELECT to_jsonb(j) FROM (SELECT {columns(JobRecord, prefix="jobs.")}) j) END,
    CASE WHEN is_told THEN (
        SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.position), '[]'::jsonb)
        FROM (SELECT {columns(DocumentRecord)} FROM documents
              WHERE job_id = %(job_id)s) d) END
FROM jobs, (SELECT EXISTS (
    SELECT FROM webhooks WHERE job_id = %(job_id)s) AS is_told) told
WHERE job_id = %(job_id)s
"""
TELL = f"""
UPDATE webhooks SET state = '{WebhookState.PENDING}', event_id = %(event_id)s,
    webhook_id = 'msg_' || replace(gen_random_uuid()::text, '-', ''),
    next_attempt_time = clock_timestamp()
WHERE job_id = %(job_id)s AND state = '{WebhookState.WAITING}'
"""


def _record_event(transaction: Transaction, job: Row) -> None:
    event_id, job_id = uuid4(), job["job_id"]
    type_ = EVENT_TYPES[JobState(job["state"])]
    transaction.run(EVENT, event_id=event_id, job_id=job_id, type=type_)
    transaction.run(TELL, event_id=event_id, job_id=job_id)


def _all_failed(transaction: Transaction, job: Row) -> Failure:
    causes = transaction.one(
        """
        SELECT bool_or(error_is_retryable) AS is_retryable,
            mode() WITHIN GROUP (ORDER BY error_reason) AS reason
        FROM documents WHERE job_id = %(job_id)s AND state = 'FAILED'
        """,
        job_id=job["job_id"],
    )
    reason, is_retryable = (causes["reason"], causes["is_retryable"]) if causes else (None, False)
    return Failure(
        "NO_DOCUMENT_AVAILABLE",
        f"None of the {job['total_documents']} documents could be fetched; "
        f"most often the reason was {reason}.",
        bool(is_retryable),
    )
