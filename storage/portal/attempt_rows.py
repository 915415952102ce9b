"""The rows of an attempt that ends without a result: a document's, or the listing's of a job.

Both follow the same rules, and write different columns. The job's row is locked first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.errors import AttemptError, Doubted, Failure, LeaseLost
from storage.job_end.completion import NO_CLAIM, complete_if_done, end, terminate_remaining
from storage.models import CaseSecrecy, Document, Job
from storage.models.base import time_after
from storage.portal.document_claims import DocumentLease
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import Outcome
from storage.portal.retries import LOST_LEASES
from storage.postgres.database import Row, Transaction
from storage.states import DocumentState, JobState, sources_of

WORKER_LOST = Failure(
    "WORKER_LOST", f"Its worker was lost {LOST_LEASES} times while fetching it.", True
)
PENDING, DOWNLOADED = DocumentState.PENDING, DocumentState.DOWNLOADED
NOT_OURS = "The claim is over."
# The portal's answer that the login has no standing in a case, or none any more.
NO_ACCESS = "NO_ACCESS"


@dataclass(frozen=True, slots=True)
class Delay:
    """When the next attempt is due: in `delay_s` seconds, or as soon as the portal allows if None.

    `failing_since`: the time from which the portal answered this item with its own failures only.
    """

    delay_s: float | None
    is_counted: bool
    is_refused: bool = False
    failing_since: datetime | None = None


class DocumentRow:
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
            Document.select().where(self._is_ours, Document.state.in_(sources_of(PENDING))).dicts()
        )
        if row is None:
            raise LeaseLost(NOT_OURS)
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

    def put_off(self, delay: Delay, error: AttemptError) -> None:
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

    def give_up(self, delay: Delay, error: AttemptError) -> Outcome:
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
            attempt_count=Document.attempt_count - int(self.row["state"] == DOWNLOADED),
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
        return Outcome(None, job["end_time"] is not None)

    def _return(self, **changes: Any) -> None:
        move = Document.update(
            state=PENDING, revision=self.job["revision"], **NO_CLAIM, **changes
        ).where(self._is_ours)
        if not self._transaction.execute(move):
            raise LeaseLost(NOT_OURS)


class ListingRow:
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
            raise LeaseLost(NOT_OURS)
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

    def put_off(self, delay: Delay, _error: AttemptError | None = None, **changes: Any) -> None:
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

    def give_up(self, _delay: Delay, error: AttemptError) -> Outcome:
        """End the job: a case that cannot be listed has no documents."""
        if error.reason == NO_ACCESS:
            self._transaction.execute(CaseSecrecy.deny(self.job["process_number"]))
        end(self._transaction, self.job["job_id"], JobState.FAILED, error.as_failure())
        return Outcome(None, job_has_ended=True)

    def give_back(self, delay_s: float, *, is_lost: bool) -> Outcome:  # noqa: ARG002
        """Release the listing's lease, uncounted. The next claim counts a lost worker."""
        self.put_off(Delay(delay_s, is_counted=False, failing_since=self.failing_since))
        return Outcome(delay_s, job_has_ended=False)


def locked_row(
    transaction: Transaction, claim: DocumentLease | ListingClaim
) -> DocumentRow | ListingRow:
    """Return the row of a claim, with the job's row locked. Raises LeaseLost."""
    if isinstance(claim, ListingClaim):
        return ListingRow(transaction, claim)
    return DocumentRow(transaction, claim)


def _advanced(transaction: Transaction, job_id: UUID) -> Row:
    """Lock a running job and take its next revision. Raises LeaseLost if the job has ended."""
    job: Row | None = transaction.fetch_one(Job.advance(job_id).where(Job.end_time.is_null()))
    if job is None:
        raise LeaseLost("The job has ended.")
    transaction.changed(job_id, job["revision"])
    return job
