"""Running the failed documents of an ended job again: a new run of the same job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar
from uuid import UUID

import peewee

from storage import reuse, turns
from storage.database import Database, Row, Transaction, in_list
from storage.ending import end_if_over
from storage.errors import (
    FieldViolation,
    PreconditionFailed,
    RequestIdReused,
    ServiceUnavailable,
)
from storage.jobs import own, view
from storage.objects import Objects
from storage.records import JobView
from storage.seats import free_seat
from storage.states import DocumentState, JobState, WebhookState, sources_of
from storage.tallies import DOCUMENTS_ENDED, REUSED

T = TypeVar("T")

# How often another may be first before it is a bug.
RACES = 5


class _NotLookedUp(Exception):
    """Other jobs stored failed documents, and whether the bucket holds them is not known yet."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        self.sizes = sizes


def rerun(
    database: Database,
    objects: Objects,
    client: str,
    job_id: UUID,
    *,
    request_id: UUID | None,
    job_deadline_s: int,
    limit_s: float,
    traceparent: str | None = None,
    jobs_at_once: int | None = None,
) -> tuple[JobView, bool]:
    """The job in a new run, and whether this call began it (not: the request_id did before).

    What another job has stored since is taken over instead of being fetched, and when nothing else
    failed the run has ended already. A bucket that does not tell within `limit_s` seconds what it
    holds is not waited for. Raises NotFound; PreconditionFailed with JOB_NOT_ENDED,
    NOTHING_TO_RETRY, or CASE_ACTIVE when another job of the case runs; RequestIdReused;
    LimitReached when the client has `jobs_at_once` other jobs that run.
    """
    in_bucket: dict[str, bool] = {}
    begin = partial(
        _rerun, client, job_id, request_id, job_deadline_s, traceparent, in_bucket, jobs_at_once
    )
    while True:
        try:
            return _begun(database, begin)
        except _NotLookedUp as found:
            # Without a lock or a connection. Another job may store more meanwhile: look again.
            in_bucket |= _look_up(objects, found.sizes, limit_s)


def _begun(database: Database, begin: Callable[[Transaction], T]) -> T:
    for _ in range(RACES):
        try:
            with database.transaction() as transaction:
                return begin(transaction)
        except peewee.IntegrityError:
            # A StartDownload on the case, a call with the same request_id, or another job of the
            # client that took the seat was first: see which.
            continue
    with database.transaction() as transaction:
        return begin(transaction)


def _look_up(objects: Objects, sizes: dict[str, int], limit_s: float) -> dict[str, bool]:
    try:
        there = objects.present(sizes, limit_s=limit_s)
    except ServiceUnavailable:
        # Then it is fetched, as if nobody had stored it.
        there = set()
    return {key: key in there for key in sizes}


def _rerun(
    client: str,
    job_id: UUID,
    request_id: UUID | None,
    job_deadline_s: int,
    traceparent: str | None,
    in_bucket: Mapping[str, bool],
    jobs_at_once: int | None,
    transaction: Transaction,
) -> tuple[JobView, bool]:
    job = own(transaction, client, job_id, is_locked=True)
    if request_id is not None and _was_done(transaction, job, request_id):
        return view(transaction, job), False
    _require_ended(transaction, job)
    carried = _carry_over(transaction, job, _stored_since(transaction, job, in_bucket))
    failed = _reset_documents(transaction, job, job["revision"] + len(carried))
    could_not_list = job["state"] == JobState.FAILED and job["total_documents"] is None
    if not carried and not failed and not could_not_list:
        raise PreconditionFailed(
            "NOTHING_TO_RETRY", "No document of this job failed in a way to retry.", str(job_id)
        )
    seat = None
    if jobs_at_once is not None and (failed or could_not_list):
        seat = free_seat(transaction, client, jobs_at_once)
    _supersede_webhooks(transaction, job)
    reopened = _reopen(transaction, job, carried, failed, job_deadline_s, traceparent, seat)
    job = end_if_over(transaction, reopened)
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


def _stored_since(transaction: Transaction, job: Row, in_bucket: Mapping[str, bool]) -> list[str]:
    """The keys of what other jobs stored of the failed documents and the bucket holds.

    Looked up under the job's lock, while no other job of the case runs, so that none is missed.
    Raises _NotLookedUp.
    """
    sizes = reuse.stored_of_failed(transaction, job["job_id"])
    unknown = {key: size for key, size in sizes.items() if key not in in_bucket}
    if unknown:
        raise _NotLookedUp(unknown)
    return [key for key in sizes if in_bucket[key]]


def _carry_over(transaction: Transaction, job: Row, keys: list[str]) -> list[int]:
    """Makes failed documents AVAILABLE as stored under `keys`, each with its own revision.

    Their sizes in bytes. No sweep deletes what is taken over: rows of other jobs have named it
    since before the bucket was asked, and AVAILABLE is never left.
    """
    rows = transaction.all(
        f"""
        UPDATE documents SET state = '{DocumentState.AVAILABLE}',
            revision = %(revision)s + found.number, object_key = found.object_key,
            size_bytes = found.size_bytes, sha256 = found.sha256,
            content_type = found.content_type, extension = found.extension, is_reused = true,
            failing_since = NULL,
            error_reason = NULL, error_message = NULL, error_is_retryable = NULL
        FROM (SELECT failed.document_id AS id,
                  row_number() OVER (ORDER BY failed.position) AS number, stored.*
              FROM documents AS failed CROSS JOIN LATERAL (
                  SELECT object_key, size_bytes, sha256, content_type, extension FROM documents
                  WHERE document_id = failed.document_id AND object_key = ANY(%(keys)s)
                      AND state = '{DocumentState.AVAILABLE}' LIMIT 1) AS stored
              WHERE failed.job_id = %(job_id)s
                  AND failed.state = '{DocumentState.FAILED}') AS found
        WHERE job_id = %(job_id)s AND document_id = found.id
            AND state IN ({in_list(sources_of(DocumentState.AVAILABLE))})
        RETURNING documents.size_bytes
        """,
        job_id=job["job_id"],
        revision=job["revision"],
        keys=keys,
    )
    if rows:
        transaction.count(DOCUMENTS_ENDED, DocumentState.AVAILABLE, REUSED, by=len(rows))
    return [row["size_bytes"] for row in rows]


def _reset_documents(transaction: Transaction, job: Row, revision: int) -> int:
    """Makes the failed documents PENDING, each with its own revision after `revision`; how many.

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
        revision=revision,
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


def _reopen(
    transaction: Transaction,
    job: Row,
    carried: list[int],
    failed: int,
    job_deadline_s: int,
    traceparent: str | None,
    seat: int | None,
) -> Row:
    row = transaction.only(
        f"""
        UPDATE jobs SET state = '{JobState.PROCESSING}', run = run + 1,
            revision = revision + %(carried)s + %(failed)s + 1,
            failed_documents = failed_documents - %(carried)s - %(failed)s,
            completed_documents = completed_documents + %(carried)s,
            reused_documents = reused_documents + %(carried)s,
            stored_bytes = stored_bytes + %(carried_bytes)s,
            end_time = NULL, error_reason = NULL, error_message = NULL, error_is_retryable = NULL,
            update_time = clock_timestamp(), nudge_count = 0, nudge_time = clock_timestamp(),
            deadline_time = clock_timestamp() + %(deadline_s)s * interval '1 second',
            listing_attempt_count = 0, listing_pause_count = 0, listing_lost_count = 0,
            listing_failing_since = NULL,
            listing_doubt_time = CASE WHEN listed_time IS NOT NULL THEN listing_doubt_time END,
            rerun_time = clock_timestamp(), traceparent = %(traceparent)s, seat = %(seat)s
        WHERE job_id = %(job_id)s AND state IN ({in_list(sources_of(JobState.PROCESSING))})
        RETURNING *
        """,
        job_id=job["job_id"],
        carried=len(carried),
        carried_bytes=sum(carried),
        failed=failed,
        deadline_s=job_deadline_s,
        traceparent=traceparent,
        seat=seat,
    )
    turns.enter(transaction, job["job_id"])
    transaction.changed(row["job_id"], row["revision"])
    return row
