"""download: one lane of a job takes its next ready document from the portal into the spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from actors.deadline import Watchdog
from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from actors.portal import Portal
from storage import claims, repairs, webhooks
from storage.claims import Claim, Content, Outcome
from storage.database import Database
from storage.errors import AttemptError, LeaseLost, ServiceUnavailable
from storage.retries import RetryPolicy
from storage.spool import Spool

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

OUTAGE_DELAY_S = 2.0


@dataclass(frozen=True)
class Downloader:
    """What a lane needs."""

    database: Database
    portal: Portal
    watchdog: Watchdog
    spool: Spool
    messages: Messages
    keeper: Keeper
    policy: RetryPolicy
    lanes: int
    lease_s: float
    deadline_s: float

    def download_document(self, job_id: UUID) -> None:
        """Fetches the job's next ready document; without one the lane ends here."""
        begun = time.monotonic()
        claim = claims.claim_next(
            self.database,
            job_id,
            spool_id=self.spool.spool_id,
            lanes=self.lanes,
            lease_s=self.lease_s,
        )
        if claim is None:
            return
        with structlog.contextvars.bound_contextvars(
            job_id=str(job_id), document_id=str(claim.document_id)
        ):
            try:
                if time.monotonic() - begun < self.lease_s / 2:
                    self._attempt(claim)
                else:
                    # PostgreSQL answered late: the lease may be over, and somebody else's.
                    self._stop(claim)
            except LeaseLost:
                self._stop(claim)

    def _attempt(self, claim: Claim) -> None:
        try:
            content = self._fetch(claim)
        except AttemptError as error:
            failed = partial(claims.fail_attempt, self.database, claim, error, self.policy)
            outcome = self._insist(failed)
            log.warning("attempt failed", reason=error.reason, retry_in_s=outcome.delay_s)
            self._go_on(claim, outcome)
        except ServiceUnavailable as error:
            log.warning("fetching postponed", part=error.part)
            self._insist(lambda: claims.give_back(self.database, claim, delay_s=OUTAGE_DELAY_S))
            self.messages.download_lanes(claim.job_id, 1, delay_s=OUTAGE_DELAY_S)
        except LeaseLost:
            raise
        except Exception:
            # A bug of ours. It counts as a lost worker, so that the document ends all the same.
            log.exception("attempt broke")
            outcome = self._insist(lambda: claims.give_back(self.database, claim, is_lost=True))
            self._go_on(claim, outcome)
        else:
            self._hand_over(claim, content)

    def _fetch(self, claim: Claim) -> Content:
        with (
            self.spool.create(claim.lease, claim.listed_size_bytes) as file,
            self.watchdog.limit(self.deadline_s) as deadline,
            self.keeper.holding(claim.lease, lambda: deadline.cut(LeaseLost("Taken back."))),
        ):
            return self.portal.fetch(
                claim.process_number,
                claim.href,
                file.write,
                expected=claim,
                limit_s=self.deadline_s,
                deadline=deadline,
                on_start=lambda size_bytes: file.reserve(size_bytes or 0),
            )

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=lambda: self.keeper.is_stopping)

    def _hand_over(self, claim: Claim, content: Content) -> None:
        self._insist(lambda: claims.spooled(self.database, claim, content))
        self.messages.upload(self.spool.spool_id, claim.job_id, claim.document_id, claim.lease)

    def _go_on(self, claim: Claim, outcome: Outcome) -> None:
        if outcome.job_has_ended:
            due = webhooks.due(self.database, claim.job_id)
            self.messages.send_webhooks(claim.job_id, due)
            return
        self.messages.download_lanes(claim.job_id, 1)
        if outcome.delay_s:
            self.messages.download_lanes(claim.job_id, 1, delay_s=outcome.delay_s)

    def _stop(self, claim: Claim) -> None:
        log.warning("claim taken back")
        # When it is this process that stops, the row is still ours to return at once.
        with suppress(LeaseLost):
            claims.stop(self.database, claim)
        self._discard(claim)
        self.messages.download_lanes(claim.job_id, 1)

    def _discard(self, claim: Claim) -> None:
        # Only when no row names the file: our own COMMIT may have gone through unseen.
        if repairs.unowned(self.database, [claim.lease]):
            self.spool.remove(claim.lease)
