"""Documents on their way: claim, keep, give back, fail, spool, store.

A claim is a lease with a token. Every function that ends one names the token, so whoever comes
with a stale one changes nothing. The job's row is locked first, always: under it claims are
counted, revisions are taken and the end is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from storage import answers, slots
from storage.closing import UNCLAIMED
from storage.database import Database, Row, Transaction, in_list
from storage.ending import end_if_over
from storage.errors import AttemptError, Failure, LeaseLost, TooFast
from storage.outcomes import Outcome
from storage.retries import LOST_LEASES, RetryPolicy
from storage.spool import NOWHERE
from storage.states import DocumentState, sources_of
from storage.steps import CLAIM
from storage.tallies import DOCUMENTS_ENDED, LEASES_LOST

WORKER_LOST = Failure(
    "WORKER_LOST", f"Its worker was lost {LOST_LEASES} times while fetching it.", True
)

SPOOL_DEAD_S = 30
# Which claims show no sign of life: a worker's by its lease, a spool's by its heartbeat. What is in
# the memory of a worker lies in no spool, so that only its lease counts.
ABANDONED = {
    DocumentState.DOWNLOADING: f"state = '{DocumentState.DOWNLOADING}'"
    " AND lease_until < clock_timestamp()",
    DocumentState.DOWNLOADED: f"state = '{DocumentState.DOWNLOADED}'"
    " AND coalesce(lease_until, '-infinity') < clock_timestamp() AND NOT EXISTS ("
    "SELECT FROM spools WHERE spools.spool_id = documents.spool_id AND heartbeat_time >="
    f" clock_timestamp() - {SPOOL_DEAD_S} * interval '1 second')",
}


@dataclass(frozen=True, slots=True)
class Held:
    """A claim on a document: whoever names the token holds it."""

    job_id: UUID
    document_id: UUID
    lease: UUID


@dataclass(frozen=True, slots=True)
class Claim(Held):
    """A document that this worker may fetch while its lease holds.

    `is_relaxed`: slots were left at the portal when it was claimed, so nobody waits for its own.
    """

    client: str
    process_number: str
    name: str
    href: str
    listed_size_bytes: int | None
    listed_content_type: str | None
    claim_time: datetime
    is_relaxed: bool = False
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Spooled(Held):
    """A checked file, to be stored under a key that holds its hash.

    `is_fresh`: it has just been fetched, and its row does not say so yet.
    """

    client: str
    process_number: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    pause_count: int
    take_time: datetime
    traceparent: str | None = None
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a file turned out to be."""

    size_bytes: int
    sha256: str
    content_type: str
    extension: str


def claim_in(
    transaction: Transaction,
    job: Row,
    lease: UUID,
    *,
    spool_id: UUID,
    lanes: int,
    lease_s: float,
) -> Claim | None:
    """The next ready document of `job`, whose lock is held, leased for `lease_s` to this spool.

    None: nothing is ready, or `lanes` documents are on their way already.
    """
    row = transaction.one(
        f"{CLAIM} RETURNING documents.*, clock_timestamp() AS claim_time",
        job_id=job["job_id"],
        leases=[lease],
        spool_id=spool_id,
        lanes=lanes,
        lease_s=lease_s,
        revision=job["revision"],
    )
    if row is None:
        return None
    _advance_job(transaction, job["job_id"])
    return Claim(
        job_id=job["job_id"],
        document_id=row["document_id"],
        lease=lease,
        client=job["client"],
        process_number=job["process_number"],
        name=row["name"],
        href=row["hrefs"][row["href_index"]],
        listed_size_bytes=row["listed_size_bytes"],
        listed_content_type=row["listed_content_type"],
        claim_time=row["claim_time"],
        traceparent=job["traceparent"],
    )


def _advance_job(
    transaction: Transaction,
    job_id: UUID,
    counters: str = "",
    returning: str = "",
    **values: bool | int | str | UUID,
) -> Row:
    """Takes the job's lock and its next revision, with any counters that change.

    Raises LeaseLost when the job has ended: then nobody holds a document of it.
    """
    job = transaction.one(
        f"UPDATE jobs SET revision = revision + 1, update_time = clock_timestamp() {counters}"
        f" WHERE job_id = %(job_id)s AND end_time IS NULL RETURNING * {returning}",
        job_id=job_id,
        **values,
    )
    if job is None:
        raise LeaseLost("The job has ended.")
    transaction.changed(job_id, job["revision"])
    return job


def _move(
    transaction: Transaction,
    claim: Held,
    to: DocumentState,
    revision: int,
    assignments: str,
    *,
    condition: str = "",
    **values: object,
) -> Row:
    """The one write of a document's state under a claim. Raises LeaseLost."""
    row = transaction.one(
        f"UPDATE documents SET state = '{to}', revision = %(revision)s, {assignments}"
        " WHERE job_id = %(job_id)s AND document_id = %(document_id)s AND lease = %(lease)s"
        f" AND state IN ({in_list(sources_of(to))}) {condition} RETURNING *",
        job_id=claim.job_id,
        document_id=claim.document_id,
        lease=claim.lease,
        revision=revision,
        **values,
    )
    if row is None:
        raise LeaseLost("The claim on this document is no longer ours.")
    return row


def fresh(claim: Claim, content: Content) -> Spooled:
    """A file to be stored before its row is told that it was fetched."""
    return replace(spooled_file(claim, content, claim.claim_time), is_fresh=True)


def spooled_file(claim: Claim, content: Content, take_time: datetime) -> Spooled:
    """Return what is to be stored of a fetched file; `take_time`: when a sweep may not be later."""
    return Spooled(
        job_id=claim.job_id,
        document_id=claim.document_id,
        lease=claim.lease,
        client=claim.client,
        process_number=claim.process_number,
        name=claim.name,
        size_bytes=content.size_bytes,
        sha256=content.sha256,
        content_type=content.content_type,
        extension=content.extension,
        pause_count=0,
        take_time=take_time,
        traceparent=claim.traceparent,
    )


def _is_in(database: Database, claim: Held, state: DocumentState) -> bool:
    with database.single() as transaction:
        row = transaction.one(
            "SELECT FROM documents WHERE lease = %(lease)s AND state = %(state)s",
            lease=claim.lease,
            state=state,
        )
    return row is not None


def give_back(
    database: Database, claim: Held, *, delay_s: float = 0, is_lost: bool = False
) -> Outcome:
    """Returns a document to PENDING with no attempt burnt, ready after `delay_s` seconds.

    `is_lost`: its file or worker is gone; the fifth time fails it. Raises LeaseLost.
    """
    with database.transaction() as transaction:
        job = _advance_job(transaction, claim.job_id)
        slots.linger(transaction, claim.lease)
        return _return(transaction, job, claim, delay_s=delay_s, is_lost=is_lost)


def to_put_again(database: Database, file: Spooled) -> Spooled | None:
    """The same file, as taken now, so that what a sweep did before does not count; None: lost."""
    with database.single() as transaction:
        row = transaction.one(
            "SELECT clock_timestamp() AS now FROM documents JOIN jobs USING (job_id)"
            " WHERE lease = %(lease)s AND end_time IS NULL",
            lease=file.lease,
        )
    return replace(file, take_time=row["now"]) if row else None


def stop(database: Database, claim: Claim) -> None:
    """Returns a document whose download was stopped; one in the spool stays."""
    if _is_in(database, claim, DocumentState.DOWNLOADED):
        return
    try:
        give_back(database, claim)
    except LeaseLost:
        # Cancelled, say. Its request was ours all the same, and so were its slots.
        with database.transaction() as transaction:
            slots.linger(transaction, claim.lease)


def expire(database: Database, held: Held, state: DocumentState) -> Outcome:
    """Takes back a document that ABANDONED says is abandoned in `state`. Raises LeaseLost.

    The fifth worker that is lost over a document, or with it, fails it; a lost spool is not the
    document's.
    """
    with database.transaction() as transaction:
        job = _advance_job(transaction, held.job_id)
        row = transaction.one(
            f"SELECT spool_id = '{NOWHERE}' AS was_in_memory FROM documents"
            f" WHERE lease = %(lease)s AND {ABANDONED[state]} FOR UPDATE",
            lease=held.lease,
        )
        if row is None:
            raise LeaseLost("Somebody works on it after all.")
        is_lost = state is DocumentState.DOWNLOADING or row["was_in_memory"]
        was_fetched = state is DocumentState.DOWNLOADED
        transaction.count(LEASES_LOST, "upload" if was_fetched else "download")
        return _return(transaction, job, held, delay_s=0, is_lost=is_lost)


def _return(
    transaction: Transaction, job: Row, claim: Held, *, delay_s: float, is_lost: bool
) -> Outcome:
    row = _move(
        transaction,
        claim,
        DocumentState.PENDING,
        job["revision"],
        # What was fetched for nothing is no attempt.
        f"{UNCLAIMED}, attempt_count = attempt_count - (state = '{DocumentState.DOWNLOADED}')::int,"
        " lost_lease_count = lost_lease_count + %(lost)s,"
        " not_before = clock_timestamp() + %(delay_s)s * interval '1 second'",
        lost=int(is_lost),
        delay_s=delay_s,
    )
    if row["lost_lease_count"] < LOST_LEASES:
        return Outcome(delay_s, job_has_ended=False)
    return _fail_for_good(transaction, row, WORKER_LOST)


_FAILING_SINCE = (
    ", (SELECT coalesce(failing_since, files_failing_since) FROM documents d"
    " WHERE d.lease = %(lease)s) AS failing_since,"
    " (SELECT pause_count FROM documents d WHERE d.lease = %(lease)s) AS refusals"
)


def fail_attempt(
    database: Database, claim: Claim, error: AttemptError, policy: RetryPolicy
) -> Outcome:
    """Records a failed attempt: the document is tried again later, or given up with a reason.

    A document whose link fails for good is tried under its twin's link, if it has one. "Too fast"
    and a court that is away burn no attempt. Raises LeaseLost.
    """
    with database.transaction() as transaction:
        job = _advance_job(transaction, claim.job_id, returning=_FAILING_SINCE, lease=claim.lease)
        verdict = answers.failed(
            transaction,
            claim.lease,
            job["court"],
            error,
            policy,
            since=job["failing_since"],
            refusals=job["refusals"],
        )
        row = _move(
            transaction,
            claim,
            DocumentState.PENDING,
            job["revision"],
            f"{UNCLAIMED}, attempt_count = attempt_count + %(attempts)s,"
            " href_attempt_count = href_attempt_count + %(attempts)s,"
            " pause_count = CASE WHEN %(is_refused)s THEN pause_count + 1 ELSE 0 END,"
            " failing_since = %(failing_since)s, error_reason = %(reason)s,"
            " error_message = %(message)s, error_is_retryable = %(is_retryable)s",
            attempts=int(verdict.wait_s is None),
            is_refused=isinstance(error, TooFast),
            failing_since=verdict.failing_since,
            reason=error.reason,
            message=str(error),
            is_retryable=error.is_retryable,
        )
        if verdict.wait_s is not None:
            return Outcome(verdict.wait_s, job_has_ended=False, lingers=verdict.lingers)
        after = _after(transaction, row, error, policy)
        return replace(after, wakes=verdict.wakes, lingers=verdict.lingers)


def _after(transaction: Transaction, row: Row, error: AttemptError, policy: RetryPolicy) -> Outcome:
    delay_s = policy.delay_s(error, attempts_made=row["href_attempt_count"])
    if delay_s is not None:
        _postpone(transaction, row, delay_s)
        return Outcome(delay_s, job_has_ended=False)
    if row["href_index"] + 1 < len(row["hrefs"]):
        _use_twin(transaction, row)
        return Outcome(0, job_has_ended=False)
    return _fail_for_good(transaction, row, error.as_failure())


def _postpone(transaction: Transaction, row: Row, delay_s: float) -> None:
    transaction.run(
        "UPDATE documents SET not_before = clock_timestamp() + %(delay_s)s * interval '1 second'"
        " WHERE job_id = %(job_id)s AND document_id = %(document_id)s",
        job_id=row["job_id"],
        document_id=row["document_id"],
        delay_s=delay_s,
    )


def _use_twin(transaction: Transaction, row: Row) -> None:
    transaction.run(
        "UPDATE documents SET href_index = href_index + 1, href_attempt_count = 0,"
        " failing_since = NULL, not_before = NULL"
        " WHERE job_id = %(job_id)s AND document_id = %(document_id)s",
        job_id=row["job_id"],
        document_id=row["document_id"],
    )


def _fail_for_good(transaction: Transaction, row: Row, failure: Failure) -> Outcome:
    """Fails a PENDING document of this transaction; ends the job if it was the last."""
    transaction.only(
        f"UPDATE documents SET state = '{DocumentState.FAILED}', not_before = NULL,"
        " error_reason = %(reason)s, error_message = %(message)s,"
        " error_is_retryable = %(is_retryable)s"
        " WHERE job_id = %(job_id)s AND document_id = %(document_id)s"
        f" AND state IN ({in_list(sources_of(DocumentState.FAILED))}) RETURNING document_id",
        job_id=row["job_id"],
        document_id=row["document_id"],
        reason=failure.reason,
        message=failure.message,
        is_retryable=failure.is_retryable,
    )
    transaction.count(DOCUMENTS_ENDED, DocumentState.FAILED, failure.reason)
    job = transaction.only(
        "UPDATE jobs SET failed_documents = failed_documents + 1"
        " WHERE job_id = %(job_id)s RETURNING *",
        job_id=row["job_id"],
    )
    return Outcome(None, end_if_over(transaction, job)["end_time"] is not None)
