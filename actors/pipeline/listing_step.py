"""list: request a case from the portal, or copy a listing, and give the job its documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import NamedTuple, TypeVar
from uuid import UUID

import structlog

from actors.hints.hint_channel import HintSender
from actors.hints.hints import Ended, JobWanted, SliceBegun, seconds_of
from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.job_end import JobEnds
from actors.pipeline.look_step import LookStep
from actors.pipeline.request_gate import RequestGate
from actors.portal.listing_body import LARGE_DOCUMENTS, ListingTurn
from actors.portal.portal_client import Portal
from actors.resilience.exchange_deadline import Deadline, Watchdog
from actors.resilience.retry import retry_until_available
from storage.errors import AttemptError, LeaseLost, ServiceUnavailable
from storage.listings import listing_cache, listing_record
from storage.listings.listing_import import ListingImport
from storage.listings.listing_record import RecordedListing, WantsChanged
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.portal.listing_claims import ListingClaim
from storage.portal.request_claims import linger_slots
from storage.portal.retries import RetryPolicy, jittered
from storage.postgres.database import Database
from storage.scheduling import scheduler_readings
from storage.scheduling.scheduler_readings import job_row
from storage.subscriptions import looks
from storage.subscriptions.looks import Look
from storage.telemetry.signals import NOOP_SIGNALS, Signals
from storage.telemetry.tracing import Span

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LISTING_LIMIT_S = 60.0
# Seconds for the bucket's answer about stored objects, while slots of the portal are held.
LOOK_S = 10.0
# A listing that lacks documents is requested once more after this many first pauses.
DOUBT_FACTOR = 3


class ListedCase(NamedTuple):
    """The end of a listing. `to_fetch`: documents to download; `used_s`: slot-seconds."""

    to_fetch: int
    used_s: float


@dataclass(frozen=True)
class Lister:
    """The dependencies of listing a case."""

    database: Database
    objects: Objects
    portal: Portal
    watchdog: Watchdog
    ends: JobEnds
    hints: HintSender
    renewer: LeaseRenewer
    policy: RetryPolicy
    lease_s: float
    gate: RequestGate
    size_limits: SizeLimits = UNLIMITED
    signals: Signals = NOOP_SIGNALS

    def list_case(
        self, claim: ListingClaim, *, proposal_id: UUID | None, is_late: bool = False
    ) -> ListedCase:
        """List a case for a job, under a claim that was granted for `proposal_id`.

        Call `send_end` afterwards. `is_late`: the claim may have expired, so it is given back
        unused. Raises ServiceUnavailable if the process stops while PostgreSQL is unavailable.
        """
        self.hints.send(
            SliceBegun(
                proposal_id,
                claim.job_id,
                claim.lease,
                has_more=False,
                next_request_at=seconds_of(claim.next_request_time),
            )
        )
        begun = monotonic()
        with (
            structlog.contextvars.bound_contextvars(job_id=str(claim.job_id)),
            self.signals.step("list", job_id=claim.job_id, traceparent=claim.traceparent) as span,
        ):
            to_fetch = self._list_case(claim, span, is_late=is_late)
        return ListedCase(to_fetch, monotonic() - begun)

    def send_end(self, claim: ListingClaim, listed: ListedCase) -> None:
        """Send the scheduler the end of the listing, and the rows of the jobs that waited.

        If PostgreSQL is unavailable, the scheduler finds the rows with its next readings.
        """
        case = None if claim.listed_by else claim.process_number
        try:
            rows = scheduler_readings.read_listed(self.database, claim.job_id, case)
        except ServiceUnavailable as error:
            log.debug("listed jobs not hinted", job_id=str(claim.job_id), part=error.part)
            rows = []
        self.hints.send(
            Ended(claim.job_id, claim.lease, used_s=listed.used_s),
            *(JobWanted(job_row(row)) for row in rows),
        )

    def _list_case(self, claim: ListingClaim, span: Span, *, is_late: bool) -> int:
        """Return the number of documents to download."""
        try:
            if is_late:
                attempts.give_back(self.database, claim)
                return 0
            # The time that the rate reserved for the request, at most a quarter of a second ahead.
            self.renewer.await_stop(claim.begins_in_s)
            with (
                self.watchdog.limit(LOOK_S + LISTING_LIMIT_S) as deadline,
                self.renewer.holding(claim.lease, lambda: deadline.cut(LeaseLost("Taken back."))),
                self.portal.listing_turns.turn() as turn,
            ):
                return self._list(claim, span, deadline, turn)
        except LeaseLost:
            log.warning("listing taken over")
            span.fail("LEASE_LOST")
            self._take_back(claim)
            return 0

    def _take_back(self, claim: ListingClaim) -> None:
        """Give a listing back because its lease is lost or its process stops."""
        try:
            attempts.give_back(self.database, claim)
        except LeaseLost:
            linger_slots(self.database, claim.lease)

    def _list(self, claim: ListingClaim, span: Span, deadline: Deadline, turn: ListingTurn) -> int:
        try:
            if claim.is_look and (look := looks.of(self.database, claim)):
                self._look(claim, look, deadline, turn)
                return 0
            listing, missing = self._listing(claim, deadline, turn)
            if missing and not claim.is_doubted and listing.doubt_time is None:
                self._doubt(claim, missing)
                return 0
            listed = self._record(claim, listing)
        except AttemptError as error:
            span.fail(error.reason)
            self._failed(claim, error)
            return 0
        except ServiceUnavailable as error:
            log.warning("listing postponed", part=error.part)
            span.fail(error.reason)
            self.signals.retried("list", error.reason)
            delay_s = error.retry_in_s
            self._insist(lambda: attempts.give_back(self.database, claim, delay_s=delay_s))
            return 0
        if listed.is_refused:
            log.info("case refused", reason="SEALED")
        else:
            log.info("case listed", to_fetch=listed.to_fetch)
        if missing and not listed.is_refused:
            log.warning("documents vanished", documents=missing)
        if not listed.to_fetch:
            self.ends.publish(claim.job_id)
        return listed.to_fetch

    def _record(self, claim: ListingClaim, listing: ListingImport) -> RecordedListing:
        """Record the listing with what the job wants, which a call that joins may change."""
        wants = claim.wants
        while True:
            known = listing
            if claim.has_history:
                # A large case may take long here: the portal has been requested already.
                known = listing_cache.with_stored(
                    self.database, self.objects, listing, limit_s=LISTING_LIMIT_S, wants=wants
                )
            record = partial(
                listing_record.record,
                self.database,
                claim,
                known,
                limits=self.size_limits,
                wants=wants,
            )
            try:
                return self._insist(record)
            except WantsChanged as changed:
                wants = changed.wants

    def _look(self, claim: ListingClaim, look: Look, deadline: Deadline, turn: ListingTurn) -> None:
        """List a watched case and record what has changed."""
        step = LookStep(self.database, self.objects, self.ends, self.size_limits, LISTING_LIMIT_S)
        # The listing is compared with that of the last look, and needs the bucket only if it
        # differs.
        listing, _ = self._listing(replace(claim, has_history=False), deadline, turn)
        compared = step.compare(claim, look, listing)
        missing = len(compared[1].vanished_document_ids)
        if missing and not (claim.is_doubted or listing.doubt_time):
            self._doubt(claim, missing)
        else:
            step.record(claim, look, listing, compared, self._insist)

    def _insist(self, write: Callable[[], T]) -> T:
        return retry_until_available(write, is_stopping=lambda: self.renewer.is_stopping)

    def _listing(
        self, claim: ListingClaim, deadline: Deadline, turn: ListingTurn
    ) -> tuple[ListingImport, int]:
        """Return the listing of the case, and how many documents of earlier listings it lacks."""
        if claim.listed_by:
            # Another client's listing is not there sooner than the portal would have answered.
            self.renewer.await_stop(min(LISTING_LIMIT_S, jittered(claim.usual_s)))
            if listing_cache.size_of(self.database, claim.listed_by) > LARGE_DOCUMENTS:
                turn.take(deadline)
            listing = listing_cache.listing_of(self.database, claim.client, claim.listed_by)
        else:
            if claim.has_history:
                listing_cache.require_bucket(
                    self.database,
                    self.objects,
                    claim.client,
                    claim.process_number,
                    limit_s=LOOK_S,
                )
            case = self.portal.list_case(
                claim.process_number,
                LISTING_LIMIT_S,
                deadline=deadline,
                turn=turn,
                client=claim.client,
            )
            listing = ListingImport.of(claim.client, claim.process_number, case)
        if not claim.has_history:
            return listing, 0
        return self._insist(
            lambda: listing_cache.compared(
                self.database, claim.client, claim.process_number, listing
            )
        )

    def _doubt(self, claim: ListingClaim, missing: int) -> None:
        """Postpone the listing and request it once more: the portal may have listed too little."""
        delay_s = jittered(DOUBT_FACTOR * self.policy.base_s)
        self._insist(lambda: attempts.doubt(self.database, claim, delay_s=delay_s))
        log.warning(
            "listing lacks documents, asked for again",
            documents=missing,
            retry_in_s=round(delay_s, 1),
        )

    def _failed(self, claim: ListingClaim, error: AttemptError) -> None:
        outcome = self._insist(
            lambda: attempts.fail_attempt(self.database, claim, error, self.policy)
        )
        if outcome.is_closed:
            self.gate.close(claim.process_number, error, outcome.closed_client)
        if outcome.delay_s is not None:
            self.signals.retried("list", error.reason)
        log.warning("listing failed", reason=error.reason, retry_in_s=outcome.delay_s)
        if outcome.job_has_ended:
            self.ends.publish(claim.job_id)
