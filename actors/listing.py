"""list: asks the portal for a case, gives the job its documents and starts the lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog

from actors.deadline import Deadline, Watchdog
from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from actors.portal import Portal
from storage import listing_claims, reuse, tasks, webhooks
from storage.database import Database
from storage.errors import AttemptError, LeaseLost, ServiceUnavailable
from storage.listing_claims import ListingClaim
from storage.listings import record
from storage.listings.listing_import import ListingImport
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.objects import Objects
from storage.outcomes import Outcome
from storage.portal import attempts
from storage.retries import RetryPolicy, jittered
from storage.telemetry.signals import UNSEEN, Signals
from storage.telemetry.tracing import Span

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LISTING_LIMIT_S = 60.0
# How long the bucket may take to say what it has, while slots of the portal are held.
LOOK_S = 10.0
# How many first pauses after a listing that lacks documents the portal is asked once more.
DOUBT_FACTOR = 3


@dataclass(frozen=True)
class Lister:
    """What listing a case needs."""

    database: Database
    objects: Objects
    portal: Portal
    watchdog: Watchdog
    messages: Messages
    keeper: Keeper
    policy: RetryPolicy
    lanes: int
    lease_s: float
    size_limits: SizeLimits = UNLIMITED
    signals: Signals = UNSEEN

    def reuse(self, job_id: UUID) -> None:
        """Lists a job by another's listing, if one serves it; the portal is not asked.

        A job that has ended has its webhooks told.
        """
        outlook = listing_claims.outlook(self.database, job_id)
        if outlook.is_over:
            self._tell_end(job_id)
        if not outlook.is_served:
            return
        claim = listing_claims.claim_known(self.database, job_id, lease_s=self.lease_s)
        if claim is None:
            return
        outcome = self.list_case(claim, is_late=False)
        if outcome and outcome.delay_s is not None:
            # In doubt: no asker has this outcome, so none would come back for it.
            self.messages.list_documents(job_id, delay_s=outcome.delay_s)

    def list_case(self, claim: ListingClaim, *, is_late: bool) -> Outcome | None:
        """Lists a case for a job; what came of it, None when something of ours is away.

        `is_late`: the claim may be over by now, so it is given back unused.
        """
        with (
            structlog.contextvars.bound_contextvars(job_id=str(claim.job_id)),
            self.signals.step("list", job_id=claim.job_id, traceparent=claim.traceparent) as span,
        ):
            return self._list_case(claim, span, is_late=is_late)

    def _list_case(self, claim: ListingClaim, span: Span, *, is_late: bool) -> Outcome | None:
        try:
            if is_late:
                attempts.give_back(self.database, claim)
                return Outcome(None, job_has_ended=False, lingers=True)
            with (
                self.watchdog.limit(LOOK_S + LISTING_LIMIT_S) as deadline,
                self.keeper.holding(claim.lease, lambda: deadline.cut(LeaseLost("Taken back."))),
            ):
                outcome = self._list(claim, span, deadline)
        except LeaseLost:
            log.warning("listing taken over")
            span.fail("LEASE_LOST")
            tasks.release(self.database, claim.lease)
            outcome = Outcome(None, job_has_ended=False, lingers=True)
        for waiting in listing_claims.waiting(self.database, claim):
            self.messages.list_documents(waiting)
        return outcome

    def _list(self, claim: ListingClaim, span: Span, deadline: Deadline) -> Outcome | None:
        try:
            listing, missing = self._listing(claim, deadline)
            if missing and not claim.is_doubted and listing.doubt_time is None:
                return self._doubt(claim, missing)
            if claim.has_history:
                # As long as it takes for a large case: the portal has been asked already.
                listing = reuse.with_stored(
                    self.database, self.objects, listing, limit_s=LISTING_LIMIT_S
                )
            listed = self._insist(
                lambda: record.record(self.database, claim, listing, limits=self.size_limits)
            )
        except AttemptError as error:
            span.fail(error.reason)
            return self._failed(claim, error)
        except ServiceUnavailable as error:
            log.warning("listing postponed", part=error.part)
            span.fail(error.reason)
            self.signals.retried("list", error.reason)
            delay_s = error.retry_in_s
            self._insist(lambda: attempts.give_back(self.database, claim, delay_s=delay_s))
            self.messages.list_documents(claim.job_id, delay_s=delay_s)
            return None
        log.info("case listed", to_fetch=listed.to_fetch)
        if missing:
            log.warning("documents vanished", documents=missing)
        if listed.to_fetch:
            # Less one: whoever lists asks for what is next.
            self.messages.wake_lanes(claim.job_id, min(self.lanes, listed.to_fetch) - 1)
        else:
            log.info("job ended")
            self._tell_end(claim.job_id)
        return Outcome(None, job_has_ended=not listed.to_fetch, wakes=listed.wakes)

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=lambda: self.keeper.is_stopping)

    def _listing(self, claim: ListingClaim, deadline: Deadline) -> tuple[ListingImport, int]:
        """The case as listed, and how many documents it lacks that were listed before."""
        if claim.listed_by:
            listing = reuse.listing_of(self.database, claim.client, claim.listed_by)
        else:
            if claim.has_history:
                reuse.require_bucket(
                    self.database,
                    self.objects,
                    claim.client,
                    claim.process_number,
                    limit_s=LOOK_S,
                )
            case = self.portal.list_case(claim.process_number, LISTING_LIMIT_S, deadline=deadline)
            listing = ListingImport.of(claim.client, claim.process_number, case)
        if not claim.has_history:
            return listing, 0
        return self._insist(
            lambda: reuse.compared(self.database, claim.client, claim.process_number, listing)
        )

    def _doubt(self, claim: ListingClaim, missing: int) -> Outcome:
        """Has the case listed once more: the portal sometimes lists incompletely."""
        delay_s = jittered(DOUBT_FACTOR * self.policy.base_s)
        outcome = self._insist(lambda: attempts.doubt(self.database, claim, delay_s=delay_s))
        log.warning(
            "listing lacks documents, asked for again",
            documents=missing,
            retry_in_s=round(delay_s, 1),
        )
        return outcome

    def _failed(self, claim: ListingClaim, error: AttemptError) -> Outcome:
        outcome = self._insist(
            lambda: attempts.fail_attempt(self.database, claim, error, self.policy)
        )
        if outcome.delay_s is not None:
            self.signals.retried("list", error.reason)
        log.warning("listing failed", reason=error.reason, retry_in_s=outcome.delay_s)
        if outcome.job_has_ended:
            self.messages.job_ended(claim.job_id, outcome.due_webhooks or ())
        return outcome

    def _tell_end(self, job_id: UUID) -> None:
        self.messages.send_webhooks(job_id, webhooks.due(self.database, job_id))
