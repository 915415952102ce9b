"""list: asks the portal for a case, gives the job its documents and starts the lanes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog

from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from actors.portal import Portal
from storage import listing_claims, reuse, tasks, webhooks
from storage.database import Database
from storage.docket import Docket
from storage.errors import AttemptError, LeaseLost, ServiceUnavailable
from storage.listing_claims import ListingClaim, Unlisted
from storage.objects import Objects
from storage.outcomes import Outcome
from storage.retries import RetryPolicy
from storage.slots import LINGER_S

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LISTING_LIMIT_S = 60.0
OUTAGE_DELAY_S = 2.0


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

    def reuse(self, job_id: UUID) -> None:
        """Gives a job its documents without asking the portal, if what is known may be used.

        A job that ended for lack of luck, or was listed by somebody else, has its webhooks told.
        """
        job = listing_claims.unlisted(self.database, job_id)
        if job is None:
            self._tell_end(job_id)
            return
        docket = self._known(job)
        if docket is None:
            return
        claim = listing_claims.claim(self.database, job_id, lease_s=self.lease_s)
        if claim is None:
            return
        with self.keeper.holding(claim.lease, _nothing), suppress(LeaseLost):
            known = docket
            self._record(claim, lambda: self._with_stored(known))

    def list_case(self, claim: ListingClaim, *, is_late: bool) -> Outcome | None:
        """Lists a case for a job; what came of it, None when something of ours is away.

        `is_late`: the claim may be over by now, so it is given back unused.
        """
        try:
            if is_late:
                listing_claims.give_back(self.database, claim)
                return Outcome(LINGER_S, job_has_ended=False)
            with self.keeper.holding(claim.lease, _nothing):
                return self._record(claim, lambda: self._with_stored(self._asked(claim)))
        except LeaseLost:
            log.warning("listing taken over", job_id=str(claim.job_id))
            tasks.release(self.database, claim.lease)
            return Outcome(LINGER_S, job_has_ended=False)

    def _record(self, claim: ListingClaim, find: Callable[[], Docket]) -> Outcome | None:
        try:
            docket = find()
            listed = self._insist(lambda: listing_claims.record(self.database, claim, docket))
        except AttemptError as error:
            return self._failed(claim, error)
        except ServiceUnavailable as error:
            log.warning("listing postponed", job_id=str(claim.job_id), part=error.part)
            self._insist(
                lambda: listing_claims.give_back(self.database, claim, delay_s=OUTAGE_DELAY_S)
            )
            self.messages.list_documents(claim.job_id, delay_s=OUTAGE_DELAY_S)
            return None
        log.info("case listed", job_id=str(claim.job_id), to_fetch=listed.to_fetch)
        if listed.to_fetch:
            self.messages.download_lanes(claim.job_id, min(self.lanes, listed.to_fetch))
        else:
            self._tell_end(claim.job_id)
        return Outcome(None, job_has_ended=not listed.to_fetch, wakes=listed.wakes)

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=lambda: self.keeper.is_stopping)

    def _asked(self, claim: ListingClaim) -> Docket:
        known = self._known(claim)
        if known is not None:
            return known
        listing = self.portal.list_case(claim.process_number, LISTING_LIMIT_S)
        return Docket.of(claim.client, claim.process_number, listing)

    def _known(self, job: Unlisted) -> Docket | None:
        return reuse.recent_docket(
            self.database, job.client, job.process_number, max_age_s=job.max_age_s
        )

    def _with_stored(self, docket: Docket) -> Docket:
        return reuse.with_stored(self.database, self.objects, docket)

    def _failed(self, claim: ListingClaim, error: AttemptError) -> Outcome:
        outcome = self._insist(
            lambda: listing_claims.fail_attempt(self.database, claim, error, self.policy)
        )
        log.warning(
            "listing failed",
            job_id=str(claim.job_id),
            reason=error.reason,
            retry_in_s=outcome.delay_s,
        )
        if outcome.job_has_ended:
            self._tell_end(claim.job_id)
        return outcome

    def _tell_end(self, job_id: UUID) -> None:
        self.messages.send_webhooks(job_id, webhooks.due(self.database, job_id))


def _nothing() -> None:
    """A listing whose claim is gone ends by itself, and is not recorded."""
