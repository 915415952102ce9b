"""End a run, once, in the transaction that ends its last document.

sql/jobs/end_job.sql decides, and writes the event of the webhooks.
"""

from __future__ import annotations

from uuid import UUID

from storage import sql
from storage.errors import Failure
from storage.event_counters import JOBS_ENDED
from storage.models import Job
from storage.postgres.database import Row, Transaction
from storage.states import JobState


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
    job = transaction.fetch_one(Job.select().where(Job.job_id == job_id).dicts())
    if job is None:
        # It was a look, and is gone.
        return {"job_id": job_id, "end_time": transaction.now(), "due_webhooks": ()}
    transaction.count(JOBS_ENDED, ended["state"])
    transaction.changed(job_id, ended["revision"])
    return {**job, "due_webhooks": ended["due_webhooks"]}
