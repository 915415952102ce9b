"""Running the failed documents of an ended job again: a new run of the same job."""

from __future__ import annotations

import hashlib
from uuid import UUID

import peewee

from storage import turns
from storage.database import Database, Row, Transaction, in_list
from storage.errors import FieldViolation, PreconditionFailed, RequestIdReused
from storage.jobs import own, view
from storage.records import JobView
from storage.states import DocumentState, JobState, WebhookState, sources_of


def rerun(
    database: Database, client: str, job_id: UUID, *, request_id: UUID | None, job_deadline_s: int
) -> tuple[JobView, bool]:
    """The job, PROCESSING again, and whether this call did it (not: the request_id did before).

    Raises NotFound; PreconditionFailed with JOB_NOT_ENDED, NOTHING_TO_RETRY, or CASE_ACTIVE when
    another job of the case runs; RequestIdReused.
    """
    try:
        with database.transaction() as transaction:
            return _rerun(transaction, client, job_id, request_id, job_deadline_s)
    except peewee.IntegrityError:
        # A StartDownload on the case, or a call with the same request_id, was first: see which.
        with database.transaction() as transaction:
            return _rerun(transaction, client, job_id, request_id, job_deadline_s)


def _rerun(
    transaction: Transaction,
    client: str,
    job_id: UUID,
    request_id: UUID | None,
    job_deadline_s: int,
) -> tuple[JobView, bool]:
    job = own(transaction, client, job_id, lock="FOR UPDATE")
    if request_id is not None and _was_done(transaction, job, request_id):
        return view(transaction, job), False
    _require_ended(transaction, job)
    failed = _reset_documents(transaction, job)
    could_not_list = job["state"] == JobState.FAILED and job["total_documents"] is None
    if not failed and not could_not_list:
        raise PreconditionFailed(
            "NOTHING_TO_RETRY", "No document of this job failed in a way to retry.", str(job_id)
        )
    _supersede_webhooks(transaction, job)
    job = _reopen(transaction, job, failed, job_deadline_s)
    if request_id is not None:
        transaction.run(
            "INSERT INTO requests (client, request_id, payload_sha256, job_id)"
            " VALUES (%(client)s, %(request_id)s, %(payload)s, %(job_id)s)",
            client=client,
            request_id=request_id,
            payload=_payload_sha256(job_id),
            job_id=job_id,
        )
    return view(transaction, job), True


def _payload_sha256(job_id: UUID) -> str:
    return hashlib.sha256(f"RetryJob {job_id}".encode()).hexdigest()


def _was_done(transaction: Transaction, job: Row, request_id: UUID) -> bool:
    earlier = transaction.one(
        "SELECT payload_sha256 FROM requests"
        " WHERE client = %(client)s AND request_id = %(request_id)s",
        client=job["client"],
        request_id=request_id,
    )
    if earlier and earlier["payload_sha256"] != _payload_sha256(job["job_id"]):
        raise RequestIdReused(
            FieldViolation("request_id", "was already used for another request; choose a new UUID.")
        )
    return earlier is not None


def _require_ended(transaction: Transaction, job: Row) -> None:
    if job["end_time"] is None:
        raise PreconditionFailed(
            "JOB_NOT_ENDED", "The job has not ended yet; wait for its end.", str(job["job_id"])
        )
    running = transaction.one(
        "SELECT job_id FROM jobs WHERE client = %(client)s AND end_time IS NULL"
        " AND process_number = %(process_number)s",
        client=job["client"],
        process_number=job["process_number"],
    )
    if running:
        raise PreconditionFailed(
            "CASE_ACTIVE",
            f"Job {running['job_id']} of the same case is running; wait for its end.",
            str(running["job_id"]),
        )


def _reset_documents(transaction: Transaction, job: Row) -> int:
    """Makes the failed documents PENDING, each with its own revision; how many.

    One without a link that may be asked stays failed.
    """
    return transaction.run(
        f"""
        UPDATE documents SET state = '{DocumentState.PENDING}', not_before = NULL,
            revision = %(revision)s + number, href_index = 0, href_attempt_count = 0,
            pause_count = 0, lost_lease_count = 0, failing_since = NULL
        FROM (SELECT document_id AS id, row_number() OVER (ORDER BY position) AS number
              FROM documents WHERE job_id = %(job_id)s AND hrefs <> '{{}}'
                  AND state = '{DocumentState.FAILED}') AS failed
        WHERE job_id = %(job_id)s AND document_id = failed.id
        """,
        job_id=job["job_id"],
        revision=job["revision"],
    )


def _supersede_webhooks(transaction: Transaction, job: Row) -> None:
    transaction.run(
        f"""
        UPDATE webhooks SET state = '{WebhookState.WAITING}', event_id = NULL, webhook_id = NULL,
            attempt_count = 0, earlier_attempt_count = 0, last_status_code = 0, last_error = '',
            delivered_time = NULL, next_attempt_time = NULL, lease = NULL, lease_until = NULL,
            nudge_count = 0, nudge_time = NULL
        WHERE job_id = %(job_id)s AND state IN ({in_list(sources_of(WebhookState.WAITING))})
        """,
        job_id=job["job_id"],
    )


def _reopen(transaction: Transaction, job: Row, failed: int, job_deadline_s: int) -> Row:
    row = transaction.only(
        f"""
        UPDATE jobs SET state = '{JobState.PROCESSING}', run = run + 1,
            revision = revision + %(failed)s + 1, failed_documents = failed_documents - %(failed)s,
            end_time = NULL, error_reason = NULL, error_message = NULL, error_is_retryable = NULL,
            update_time = clock_timestamp(), nudge_count = 0, nudge_time = clock_timestamp(),
            deadline_time = clock_timestamp() + %(deadline_s)s * interval '1 second',
            listing_attempt_count = 0, listing_pause_count = 0, listing_lost_count = 0,
            listing_doubt_time = CASE WHEN listed_time IS NOT NULL THEN listing_doubt_time END,
            rerun_time = clock_timestamp(),
            listing_failing_since = NULL
        WHERE job_id = %(job_id)s AND state IN ({in_list(sources_of(JobState.PROCESSING))})
        RETURNING *
        """,
        job_id=job["job_id"],
        failed=failed,
        deadline_s=job_deadline_s,
    )
    turns.enter(transaction, job["job_id"])
    transaction.changed(row["job_id"], row["revision"])
    return row
