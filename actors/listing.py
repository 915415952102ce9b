"""list: asks the portal for a case, gives the job its documents and starts the lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog

from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from actors.portal import Portal
from storage import listing_claims, reuse, webhooks
from storage.database import Database
from storage.docket import Docket
from storage.errors import AttemptError, LeaseLost, ServiceUnavailable
from storage.listing_claims import ListingClaim
from storage.objects import Objects
from storage.retries import RetryPolicy, jittered

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LISTING_LIMIT_S = 60.0
OUTAGE_DELAY_S = 2.0
# How many first pauses after a listing that lacks documents the portal is asked once more.
DOUBT_FACTOR = 3


@dataclass(frozen=True)
class Lister:
    """What listing a case needs."""

    database: Database
    objects: Objects
    portal: Portal
    messages: Messages
    keeper: Keeper
    policy: RetryPolicy
    lanes: int
    lease_s: float

    def list_documents(self, job_id: UUID) -> None:
        """Lists the case of a job, if nobody else does or did."""
        claim = listing_claims.claim(self.database, job_id, lease_s=self.lease_s)
        if claim is None:
            # Ended for lack of luck, or somebody else's; its webhooks, if any, are due.
            self._tell_end(job_id)
            return
        try:
            with self.keeper.holding(claim.lease, lambda: None):
                self._work(claim)
        except LeaseLost:
            log.warning("listing taken over", job_id=str(job_id))
        for waiting in listing_claims.waiting(self.database, claim):
            self.messages.list_documents(waiting)

    def _work(self, claim: ListingClaim) -> None:
        try:
            docket, missing = self._docket(claim)
            if missing and not claim.is_doubted and docket.doubt_time is None:
                self._doubt(claim, missing)
                return
            docket = reuse.with_stored(self.database, self.objects, docket)
            pending = self._insist(lambda: listing_claims.record(self.database, claim, docket))
        except AttemptError as error:
            self._failed(claim, error)
        except ServiceUnavailable as error:
            log.warning("listing postponed", job_id=str(claim.job_id), part=error.part)
            self._insist(
                lambda: listing_claims.give_back(self.database, claim, delay_s=OUTAGE_DELAY_S)
            )
            self.messages.list_documents(claim.job_id, delay_s=OUTAGE_DELAY_S)
        else:
            log.info("case listed", job_id=str(claim.job_id), to_fetch=pending)
            if missing:
                log.warning("documents vanished", job_id=str(claim.job_id), documents=missing)
            if pending:
                self.messages.download_lanes(claim.job_id, min(self.lanes, pending))
            else:
                self._tell_end(claim.job_id)

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=lambda: self.keeper.is_stopping)

    def _docket(self, claim: ListingClaim) -> tuple[Docket, int]:
        """The case as listed, and how many documents it lacks that were listed before."""
        if claim.listed_by:
            docket = reuse.docket_of(self.database, claim.client, claim.listed_by)
        else:
            reuse.require_bucket(self.database, self.objects, claim.client, claim.process_number)
            listing = self.portal.list_case(claim.process_number, LISTING_LIMIT_S)
            docket = Docket.of(claim.client, claim.process_number, listing)
        return self._insist(
            lambda: reuse.compared(self.database, claim.client, claim.process_number, docket)
        )

    def _doubt(self, claim: ListingClaim, missing: int) -> None:
        """Has the case listed once more: the portal sometimes lists incompletely."""
        delay_s = jittered(DOUBT_FACTOR * self.policy.base_s)
        self._insist(lambda: listing_claims.doubt(self.database, claim, delay_s=delay_s))
        log.warning(
            "listing lacks documents, asked for again",
            job_id=str(claim.job_id),
            documents=missing,
            retry_in_s=round(delay_s, 1),
        )
        self.messages.list_documents(claim.job_id, delay_s=delay_s)

    def _failed(self, claim: ListingClaim, error: AttemptError) -> None:
        delay_s = self._insist(
            lambda: listing_claims.fail_attempt(self.database, claim, error, self.policy)
        )
        log.warning(
            "listing failed", job_id=str(claim.job_id), reason=error.reason, retry_in_s=delay_s
        )
        if delay_s is None:
            self._tell_end(claim.job_id)
        else:
            self.messages.list_documents(claim.job_id, delay_s=delay_s)

    def _tell_end(self, job_id: UUID) -> None:
        self.messages.send_webhooks(job_id, webhooks.due(self.database, job_id))
