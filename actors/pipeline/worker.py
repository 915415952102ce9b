"""A worker: takes proposals, claims, and makes the granted requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import structlog

from actors.hints.hint_channel import HintSender
from actors.hints.hints import PROPOSAL_AGE_S, JobEnded, ProposalRefused
from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.job_end import JobEnds
from actors.pipeline.listing_step import ListedCase, Lister
from actors.pipeline.prober import Prober
from actors.pipeline.slices import SliceRunner
from storage.errors import ServiceUnavailable
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.request_claims import (
    ClaimContext,
    Claimed,
    ClaimRefusal,
    CourtProbe,
    EndedJob,
    Slice,
    claim,
    claim_any,
)
from storage.postgres.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Worker:
    """The dependencies of a worker. `now_ms`: milliseconds since 1970 by the clock of Valkey."""

    database: Database
    context: ClaimContext
    hints: HintSender
    lister: Lister
    slices: SliceRunner
    prober: Prober
    ends: JobEnds
    renewer: LeaseRenewer
    now_ms: Callable[[], int]

    def begin(
        self,
        job_id: UUID,
        count: int,
        proposal_id: UUID,
        sent_ms: int,
        *,
        goes_on: bool = False,
    ) -> None:
        """Take a proposal: claim up to `count` requests of a job, and make them.

        A proposal that is too old gets no answer: the scheduler has dropped it. `goes_on`: after a
        listing, claim the first document, too.
        """
        if self.renewer.is_stopping or self.now_ms() - sent_ms > PROPOSAL_AGE_S * 1000:
            return
        claimed_at = monotonic()
        try:
            answer = claim(self.database, self.context, job_id, count)
            if isinstance(answer, ClaimRefusal):
                self._refused(answer, job_id, proposal_id)
            else:
                self._work(answer, proposal_id, claimed_at, goes_on=goes_on)
        except ServiceUnavailable as error:
            # The part's own line has the cause, once.
            log.debug("message postponed", job_id=str(job_id), part=error.part)

    def poll(self, found: Callable[[], None]) -> bool:
        """Claim any slice while no scheduler proposes, and make its requests.

        Return whether there was one; call `found` before it begins. Raises ServiceUnavailable.
        """
        if self.renewer.is_stopping:
            return False
        claimed_at = monotonic()
        answer = claim_any(self.database, self.context)
        if isinstance(answer, ClaimRefusal):
            return False
        found()
        self._work(answer, None, claimed_at)
        return True

    def _work(
        self,
        answer: Claimed,
        proposal_id: UUID | None,
        claimed_at: float,
        *,
        goes_on: bool = False,
    ) -> None:
        is_late = monotonic() - claimed_at > self.context.lease_s / 2
        match answer:
            case Slice():
                self.slices.run(answer, proposal_id=proposal_id, claimed_at=claimed_at)
            case ListingClaim():
                listed = self.lister.list_case(answer, proposal_id=proposal_id, is_late=is_late)
                if goes_on and listed.to_fetch and self._takes_files():
                    self._go_on(answer, listed)
                else:
                    self.lister.send_end(answer, listed)
            case CourtProbe():
                self.prober.probe(answer, proposal_id=proposal_id)
            case EndedJob():
                log.warning(
                    "job ended: its listing lost too many workers", job_id=str(answer.job_id)
                )
                self.ends.publish(answer.job_id, answer.due_webhooks)

    def _takes_files(self) -> bool:
        """Return whether this process still takes files, as its heartbeat reports."""
        return not (self.renewer.is_stopping or self.slices.spool.trouble())

    def _go_on(self, listing: ListingClaim, listed: ListedCase) -> None:
        """Begin with the documents of a listed case.

        The end of the listing is hinted after the claim, whatever the claim answers. The scheduler
        then knows about both, and proposes neither the slot nor the document again.
        """
        claimed_at = monotonic()
        try:
            answer = claim(self.database, self.context, listing.job_id)
        finally:
            self.lister.send_end(listing, listed)
        if not isinstance(answer, ClaimRefusal):
            self._work(answer, None, claimed_at)

    def _refused(self, refusal: ClaimRefusal, job_id: UUID, proposal_id: UUID) -> None:
        if refusal.reason == "ENDED":
            self.hints.send(
                ProposalRefused(proposal_id, job_id, RefusedScope.JOB), JobEnded(job_id)
            )
            return
        until = refusal.until_time
        is_known = until is not None and until.year < 9999
        self.hints.send(
            ProposalRefused(
                proposal_id,
                job_id,
                refusal.scope,
                until=until.timestamp() if until is not None and is_known else None,
                is_empty=refusal.reason == "WAITING",
            )
        )
