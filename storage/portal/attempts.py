"""End an attempt at the portal without a result: it failed, or it is given back uncounted.

An attempt is made for a document or for the listing of a job. Both follow the same rules, and write
different columns (`_DocumentRow`, `_ListingRow`). Every function locks the job's row first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import fn

from storage.errors import AttemptError, Doubted, Failure, LeaseLost, TooFast
from storage.event_counters import LEASES_LOST
from storage.job_end.completion import complete_if_done, end
from storage.job_end.termination import NO_CLAIM, terminate_remaining
from storage.models import CaseSecrecy, Document, Job, SpoolState
from storage.models.base import time_after
from storage.portal import portal_feedback, slots
from storage.portal.document_claims import DocumentClaim, DocumentLease
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import Outcome
from storage.portal.retries import LOST_LEASES, RetryPolicy
from storage.postgres.database import Database, Row, Transaction
from storage.states import DocumentState, JobState, sources_of

WORKER_LOST = Failure(
    "WORKER_LOST", f"Its worker was lost {LOST_LEASES} times while fetching it.", True
)
SPOOL_DEAD_S = 30
_PENDING, _DOWNLOADED = DocumentState.PENDING, DocumentState.DOWNLOADED
_NOT_OURS = "The claim is over."
# The portal's answer that the login has no standing in a case, or none any more.
NO_ACCESS = "NO_ACCESS"


@dataclass(frozen=True, slots=True)
class _Delay:
    """When the next attempt is due: in `delay_s` seconds, or as soon as the portal allows if None.

    `failing_since`: the time from which the portal answered this item with its own failures only.
    """

    delay_s: float | None
    is_counted: bool
    is_refused: bool = False
    failing_since: datetime | None = None


class _DocumentRow:
    """A claimed document and its job, with the job's row locked."""

    def __init__(self, transaction: Transaction, claim: DocumentLease) -> None:
        self._transaction = transaction
        self._is_ours = (
            (Document.lease == claim.lease)
            & (Document.job_id == claim.job_id)
            & (Document.document_id == claim.document_id)
        )
        self.job = _advanced(transaction, claim.job_id)
        row = transaction.fetch_one(
            Document.select().where(self._is_ours, Document.state.in_(sources_of(_PENDING))).dicts()
        )
        if row is None:
            raise LeaseLost(_NOT_OURS)
        self.row: Row = row
        self.court: str = self.job["court"]
        self.failing_since: datetime | None = (
            row["failing_since"] or self.job["files_failing_since"]
        )
        self.refusals: int = row["pause_count"]
        self.attempts_made: int = row["href_attempt_count"]

    def is_alone(self) -> bool:
        """Return False: the breaker soon probes an unavailable court with a listing."""
        return False

    def put_off(self, delay: _Delay, error: AttemptError) -> None:
        """Return the document to PENDING and record the result of its attempt."""
        self._return(
            attempt_count=Document.attempt_count + int(delay.is_counted),
            href_attempt_count=Document.href_attempt_count + int(delay.is_counted),
            pause_count=Document.pause_count + 1 if delay.is_refused else 0,
            failing_since=delay.failing_since,
            not_before=None if delay.delay_s is None else time_after(delay.delay_s),
            error_reason=error.reason,
            error_message=str(error),
            error_is_retryable=error.is_retryable,
            **({"doubted_sha256": error.sha256} if isinstance(error, Doubted) else {}),
        )

    def put_off_comparison(self, delay_s: float, sha256: str) -> None:
        """Return the document to PENDING uncounted, with the hash to compare its next answer to."""
        self._return(
            pause_count=0,
            failing_since=None,
            not_before=time_after(delay_s),
            doubted_sha256=sha256,
        )

    def give_up(self, delay: _Delay, error: AttemptError) -> Outcome:
        """Try the link of the document's twin if it has one; otherwise fail the document."""
        self.put_off(replace(delay, delay_s=None), error)
        if self.row["href_index"] + 1 == len(self.row["hrefs"]):
            return self.fail(error.as_failure())
        self._transaction.execute(
            Document.update(
                href_index=Document.href_index + 1, href_attempt_count=0, failing_since=None
            ).where(
                Document.job_id == self.job["job_id"],
                Document.document_id == self.row["document_id"],
            )
        )
        return Outcome(0, job_has_ended=False)

    def give_back(self, delay_s: float, *, is_lost: bool) -> Outcome:
        """Return the document to PENDING uncounted. The fifth lost worker fails the document."""
        self._return(
            # A fetched file that was lost does not count as an attempt.
            attempt_count=Document.attempt_count - int(self.row["state"] == _DOWNLOADED),
            lost_lease_count=Document.lost_lease_count + int(is_lost),
            not_before=time_after(delay_s),
        )
        if self.row["lost_lease_count"] + int(is_lost) < LOST_LEASES:
            return Outcome(delay_s, job_has_ended=False)
        return self.fail(WORKER_LOST)

    def fail(self, failure: Failure) -> Outcome:
        """Fail the document. End the job if this was its last open document."""
        job = terminate_remaining(
            self._transaction,
            self.job,
            DocumentState.FAILED,
            failure,
            document_id=self.row["document_id"],
        )
        job = complete_if_done(self._transaction, job)
        return Outcome(None, job["end_time"] is not None, due_webhooks=job.get("due_webhooks"))

    def _return(self, **changes: Any) -> None:
        move = Document.update(
            state=_PENDING, revision=self.job["revision"], **NO_CLAIM, **changes
        ).where(self._is_ours)
        if not self._transaction.execute(move):
            raise LeaseLost(_NOT_OURS)


class _ListingRow:
    """A job with a claimed listing, with the job's row locked."""

    def __init__(self, transaction: Transaction, claim: ListingClaim) -> None:
        self._transaction = transaction
        job = transaction.fetch_one(
            Job.select()
            .where(Job.job_id == claim.job_id, Job.listing_lease == claim.lease)
            .for_update()
            .dicts()
        )
        if job is None:
            raise LeaseLost(_NOT_OURS)
        self.job: Row = job
        self.court: str = job["court"]
        self.failing_since: datetime | None = job["listing_failing_since"]
        self.refusals: int = job["listing_pause_count"]
        self.attempts_made: int = job["listing_attempt_count"]

    def is_alone(self) -> bool:
        """Return whether no other job of the same court is running."""
        others = Job.select(Job.job_id).where(
            Job.court == self.court, Job.job_id != self.job["job_id"], Job.end_time.is_null()
        )
        return self._transaction.fetch_one(others.limit(1).tuples()) is None

    def put_off(self, delay: _Delay, _error: AttemptError | None = None, **changes: Any) -> None:
        """Release the listing's lease and record the result of the attempt."""
        move = Job.update(
            listing_lease=None,
            listing_lease_until=None,
            listing_attempt_count=Job.listing_attempt_count + int(delay.is_counted),
            listing_pause_count=Job.listing_pause_count + 1 if delay.is_refused else 0,
            listing_failing_since=delay.failing_since,
            listing_not_before=time_after(delay.delay_s or 0),
            **changes,
        )
        self._transaction.execute(move.where(Job.job_id == self.job["job_id"]))

    def give_up(self, _delay: _Delay, error: AttemptError) -> Outcome:
        """End the job: a case that cannot be listed has no documents."""
        if error.reason == NO_ACCESS:
            self._transaction.execute(CaseSecrecy.deny(self.job["process_number"]))
        job = end(self._transaction, self.job["job_id"], JobState.FAILED, error.as_failure())
        return Outcome(None, job_has_ended=True, due_webhooks=job.get("due_webhooks"))

    def give_back(self, delay_s: float, *, is_lost: bool) -> Outcome:  # noqa: ARG002
        """Release the listing's lease, uncounted. The next claim counts a lost worker."""
        self.put_off(_Delay(delay_s, is_counted=False, failing_since=self.failing_since))
        return Outcome(delay_s, job_has_ended=False)


def _locked(
    transaction: Transaction, claim: DocumentLease | ListingClaim
) -> _DocumentRow | _ListingRow:
    if isinstance(claim, ListingClaim):
        return _ListingRow(transaction, claim)
    return _DocumentRow(transaction, claim)


def _advanced(transaction: Transaction, job_id: UUID) -> Row:
    """Lock a running job and take its next revision. Raises LeaseLost if the job has ended."""
    job: Row | None = transaction.fetch_one(Job.advance(job_id).where(Job.end_time.is_null()))
    if job is None:
        raise LeaseLost("The job has ended.")
    transaction.changed(job_id, job["revision"])
    return job


def fail_attempt(
    database: Database,
    claim: DocumentClaim | ListingClaim,
    error: AttemptError,
    policy: RetryPolicy,
) -> Outcome:
    """Record a failed attempt. Schedule the next attempt, or fail the document or the job.

    A refusal by the portal ("too fast") and an unavailable court do not count as attempts. Raises
    LeaseLost.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, claim)
        verdict = portal_feedback.record_portal_failure(
            transaction,
            claim.slot_token,
            row.court,
            error,
            policy,
            client=row.job["client"],
            since=row.failing_since,
            refusals=row.refusals,
        )
        waits = verdict.wait_s is not None and not (verdict.is_long and row.is_alone())
        delay = _Delay(None, not waits, isinstance(error, TooFast), verdict.failing_since)
        if waits:
            row.put_off(delay, error)
            return Outcome(
                verdict.wait_s,
                job_has_ended=False,
                delays_release=verdict.delays_release,
                is_closed=True,
                closed_client=verdict.client,
            )
        delay_s = policy.delay_s(error, attempts_made=row.attempts_made + 1)
        if delay_s is None:
            outcome = row.give_up(delay, error)
        else:
            row.put_off(replace(delay, delay_s=delay_s), error)
            outcome = Outcome(delay_s, job_has_ended=False)
        return replace(
            outcome, extra_requests=verdict.extra_requests, delays_release=verdict.delays_release
        )


def give_back(
    database: Database,
    claim: DocumentLease | ListingClaim,
    *,
    delay_s: float = 0,
    is_lost: bool = False,
) -> Outcome:
    """Give a claim back uncounted. The document or listing is due again after `delay_s` seconds.

    `is_lost`: the document's file or worker is lost; the fifth loss fails the document. The slots
    stay taken for RELEASE_DELAY_S seconds, because the portal may still work on a request that was
    cut. Raises LeaseLost.
    """
    with database.transaction() as transaction:
        row = _locked(transaction, claim)
        slots.release_after_delay(transaction, claim.slot_token)
        return row.give_back(delay_s, is_lost=is_lost)


def stop(database: Database, claim: DocumentClaim) -> None:
    """Give back a document after its download was stopped. A spooled document stays."""
    in_spool = Document.select(Document.document_id).where(
        Document.lease == claim.lease, Document.state == _DOWNLOADED
    )
    with database.single() as transaction:
        if transaction.fetch_one(in_spool.tuples()):
            return
    try:
        give_back(database, claim)
    except LeaseLost:
        # The document's claim is over, for example because a caller cancelled the job. The request
        # still took place, so its slots must be released.
        with database.transaction() as transaction:
            slots.release_after_delay(transaction, claim.slot_token)


def doubt(database: Database, claim: ListingClaim, *, delay_s: float) -> Outcome:
    """Give a listing back uncounted. The portal is requested once more after `delay_s` seconds."""
    with database.transaction() as transaction:
        row = _ListingRow(transaction, claim)
        row.put_off(_Delay(delay_s, is_counted=False), listing_doubt_time=fn.clock_timestamp())
        if claim.listed_by:
            slots.release(transaction, claim.slot_token)
            extra_requests = 0
        else:
            extra_requests = portal_feedback.record_success(transaction, claim.slot_token)
        return Outcome(delay_s, job_has_ended=False, extra_requests=extra_requests)


def compare(
    database: Database, claim: DocumentClaim, doubted: Doubted, *, delay_s: float
) -> Outcome:
    """Give a document back uncounted, so that a later answer is compared with this one.

    The document is due again after `delay_s` seconds. Raises LeaseLost.
    """
    with database.transaction() as transaction:
        row = _DocumentRow(transaction, claim)
        row.put_off_comparison(delay_s, doubted.sha256)
        extra_requests = portal_feedback.record_success(transaction, claim.lease)
        return Outcome(delay_s, job_has_ended=False, extra_requests=extra_requests)


def is_abandoned(state: DocumentState) -> Any:
    """Return the SQL condition that a document in `state` is claimed by a dead worker or spool.

    A worker is dead when its lease has ended; a spool is dead when its heartbeat is too old.
    """
    is_over = Document.lease_until < fn.clock_timestamp()
    if state is DocumentState.DOWNLOADING:
        return (Document.state == state) & is_over
    is_alive = SpoolState.select(SpoolState.spool_id).where(
        SpoolState.spool_id == Document.spool_id,
        SpoolState.heartbeat_time >= time_after(-SPOOL_DEAD_S),
    )
    return (
        (Document.state == state)
        & (Document.lease_until.is_null() | is_over)
        & ~fn.EXISTS(is_alive)
    )


def expire(database: Database, held: DocumentLease, state: DocumentState) -> Outcome:
    """Take back a document that is abandoned in `state`. Raises LeaseLost if it is not.

    The fifth lost worker fails the document. In a slice of several documents, nothing shows which
    request had begun, so the loss counts against none of them. Each of them is due now and is then
    claimed alone, so that the next loss counts. A lost spool does not count.
    """
    abandoned = Document.select(Document.spool_id).where(
        Document.lease == held.lease, is_abandoned(state)
    )
    with database.transaction() as transaction:
        row = _DocumentRow(transaction, held)
        if transaction.fetch_one(abandoned.for_update().dicts()) is None:
            raise LeaseLost("The holder of the claim is alive.")
        is_downloading = state is DocumentState.DOWNLOADING
        transaction.count(LEASES_LOST, "download" if is_downloading else "upload")
        is_alone = row.row["slice_size"] == 1
        return row.give_back(0, is_lost=is_downloading and is_alone)
