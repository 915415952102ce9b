"""Giving up what is left of a job at once: for CancelJob and for a job whose time is over."""

from __future__ import annotations

from storage.database import Row, Transaction, in_list
from storage.errors import Failure
from storage.states import DocumentState, sources_of
from storage.tallies import DOCUMENTS_ENDED

# What a document loses when its claim ends without a stored object.
UNCLAIMED = (
    "lease = NULL, lease_until = NULL, spool_id = NULL, sha256 = NULL, size_bytes = NULL, "
    "content_type = NULL, extension = NULL"
)


def close_rest(
    transaction: Transaction, job: Row, state: DocumentState, failure: Failure | None = None
) -> Row:
    """Moves every document that is not over to `state`; the job, whose lock is held, as it is then.

    Each takes a revision of its own, in the order of the case file.
    """
    closed = transaction.run(
        f"""
        UPDATE documents SET state = %(state)s, revision = %(revision)s + number, {UNCLAIMED},
            not_before = NULL,
            error_reason = coalesce(%(reason)s, error_reason),
            error_message = coalesce(%(message)s, error_message),
            error_is_retryable = coalesce(%(is_retryable)s, error_is_retryable)
        FROM (SELECT document_id AS id, row_number() OVER (ORDER BY position) AS number
              FROM documents WHERE job_id = %(job_id)s
                  AND state IN ({in_list(sources_of(state))})) AS rest
        WHERE job_id = %(job_id)s AND document_id = rest.id
        """,
        job_id=job["job_id"],
        state=state,
        revision=job["revision"],
        reason=failure.reason if failure else None,
        message=failure.message if failure else None,
        is_retryable=failure.is_retryable if failure else None,
    )
    if closed:
        transaction.count(DOCUMENTS_ENDED, state, failure.reason if failure else "", by=closed)
    counter = "failed" if state is DocumentState.FAILED else "cancelled"
    after = transaction.only(
        f"UPDATE jobs SET revision = revision + %(closed)s, update_time = clock_timestamp(),"
        f" {counter}_documents = {counter}_documents + %(closed)s"
        " WHERE job_id = %(job_id)s RETURNING *",
        job_id=job["job_id"],
        closed=closed,
    )
    transaction.changed(after["job_id"], after["revision"])
    return after
