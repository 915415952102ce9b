"""End documents of a job, and its run, once, in the transaction that ends its last document.

sql/jobs/end_job.sql decides, and writes the event of the webhooks.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from peewee import fn

from storage import sql
from storage.errors import Failure
from storage.event_counters import DOCUMENTS_ENDED, JOBS_ENDED
from storage.models import Document, Job
from storage.postgres.database import Row, Transaction
from storage.states import DOCUMENT_OPEN, DocumentState, JobState

# The columns that a document loses when its claim ends without a stored object.
NO_CLAIM: dict[str, Any] = dict.fromkeys(
    (
        "lease",
        "lease_until",
        "slice",
        "slice_size",
        "spool_id",
        "sha256",
        "size_bytes",
        "content_type",
        "extension",
    )
)


def complete_if_done(transaction: Transaction, job: Row) -> Row:
    """End `job` if none of its documents is left. Return the job's row as it then is.

    `job` is the row as this transaction last wrote it. The transaction holds its lock.
    """
    return _end(transaction, job["job_id"], None, None) or job


def end(
    transaction: Transaction, job_id: UUID, state: JobState, failure: Failure | None = None
) -> Row:
    """End a run as `state` and make its webhooks due. Return the job's row as it then is.

    The caller holds the job's lock and has checked that the run has not ended.
    """
    job = _end(transaction, job_id, state, failure)
    if job is None:
        raise AssertionError(f"job {job_id} ended twice")
    return job


def _end(
    transaction: Transaction, job_id: UUID, state: JobState | None, failure: Failure | None
) -> Row | None:
    ended = transaction.one(
        sql.function("end_job").call,
        job_id=job_id,
        state=state,
        reason=failure.reason if failure else None,
        message=failure.message if failure else None,
        is_retryable=failure.is_retryable if failure else None,
    )
    if ended is None:
        return None
    job: Row | None = transaction.fetch_one(Job.select().where(Job.job_id == job_id).dicts())
    if job is None:
        # It was a look, and is gone.
        return {"job_id": job_id, "end_time": transaction.now()}
    transaction.count(JOBS_ENDED, ended["state"])
    transaction.changed(job_id, ended["revision"])
    return job


def terminate_remaining(
    transaction: Transaction,
    job: Row,
    state: DocumentState,
    failure: Failure | None = None,
    *,
    document_id: UUID | None = None,
) -> Row:
    """Move every open document to `state`, or only `document_id`. Return the job's row after that.

    The caller holds the job's lock. Each document takes its own revision, in the order of the case
    file.
    """
    closed = transaction.execute(_close(job, state, failure, document_id))
    if closed:
        transaction.count(DOCUMENTS_ENDED, state, failure.reason if failure else "", by=closed)
    counter = Job.failed_documents if state is DocumentState.FAILED else Job.cancelled_documents
    after: Row = transaction.fetch_one(
        Job.update(
            {
                Job.revision: Job.revision + closed,
                Job.update_time: fn.clock_timestamp(),
                counter: counter + closed,
            }
        )
        .where(Job.job_id == job["job_id"])
        .returning(Job)
        .dicts()
    )
    transaction.changed(after["job_id"], after["revision"])
    return after


def _close(
    job: Row, state: DocumentState, failure: Failure | None, document_id: UUID | None
) -> Any:
    number = fn.row_number().over(order_by=[Document.position])
    rest = Document.select(Document.document_id, number.alias("number")).where(
        Document.job_id == job["job_id"], Document.state.in_(sorted(DOCUMENT_OPEN))
    )
    if document_id:
        rest = rest.where(Document.document_id == document_id)
    rest = rest.alias("rest")
    changes = {
        "state": state,
        "revision": job["revision"] + rest.c.number,
        "not_before": None,
        **NO_CLAIM,
    }
    if failure:
        changes |= {
            "error_reason": failure.reason,
            "error_message": failure.message,
            "error_is_retryable": failure.is_retryable,
        }
    return (
        Document.update(changes)
        .from_(rest)
        .where(Document.job_id == job["job_id"], Document.document_id == rest.c.document_id)
    )
