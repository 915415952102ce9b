"""End an attempt at the portal without a result: it failed, or it is given back uncounted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from peewee import fn

from storage.errors import AttemptError, Doubted, LeaseLost, TooFast
from storage.event_counters import LEASES_LOST
from storage.models import Document, SpoolState
from storage.models.base import time_after
from storage.portal import portal_feedback, slots
from storage.portal.attempt_rows import DOWNLOADED, Delay, DocumentRow, ListingRow, locked_row
from storage.portal.document_claims import DocumentClaim, DocumentLease
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import Outcome
from storage.portal.retries import RetryPolicy
from storage.postgres.database import Database
from storage.states import DocumentState

SPOOL_DEAD_S = 30


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
        row = locked_row(transaction, claim)
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
        delay = Delay(None, not waits, isinstance(error, TooFast), verdict.failing_since)
        if waits:
            row.put_off(delay, error)
            return Outcome(
                verdict.wait_s, job_has_ended=False, is_closed=True, closed_client=verdict.client
            )
        delay_s = policy.delay_s(error, attempts_made=row.attempts_made + 1)
        if delay_s is None:
            return row.give_up(delay, error)
        row.put_off(replace(delay, delay_s=delay_s), error)
        return Outcome(delay_s, job_has_ended=False)


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
        row = locked_row(transaction, claim)
        slots.release_after_delay(transaction, claim.slot_token)
        return row.give_back(delay_s, is_lost=is_lost)


def stop(database: Database, claim: DocumentClaim) -> None:
    """Give back a document after its download was stopped. A spooled document stays."""
    in_spool = Document.select(Document.document_id).where(
        Document.lease == claim.lease, Document.state == DOWNLOADED
    )
    with database.autocommit() as transaction:
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
        row = ListingRow(transaction, claim)
        row.put_off(Delay(delay_s, is_counted=False), listing_doubt_time=fn.clock_timestamp())
        if claim.listed_by:
            slots.release(transaction, claim.slot_token)
        else:
            portal_feedback.record_success(transaction, claim.slot_token)
        return Outcome(delay_s, job_has_ended=False)


def compare(
    database: Database, claim: DocumentClaim, doubted: Doubted, *, delay_s: float
) -> Outcome:
    """Give a document back uncounted, so that a later answer is compared with this one.

    The document is due again after `delay_s` seconds. Raises LeaseLost.
    """
    with database.transaction() as transaction:
        row = DocumentRow(transaction, claim)
        row.put_off_comparison(delay_s, doubted.sha256)
        portal_feedback.record_success(transaction, claim.lease)
        return Outcome(delay_s, job_has_ended=False)


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
        row = DocumentRow(transaction, held)
        if transaction.fetch_one(abandoned.for_update().dicts()) is None:
            raise LeaseLost("The holder of the claim is alive.")
        is_downloading = state is DocumentState.DOWNLOADING
        transaction.count(LEASES_LOST, "download" if is_downloading else "upload")
        is_alone = row.row["slice_size"] == 1
        return row.give_back(0, is_lost=is_downloading and is_alone)
