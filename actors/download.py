"""download: a claimed document from the portal into the spool, or into the hands of its storer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog

from actors.deadline import Watchdog
from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from actors.portal import Portal
from actors.storing import Storer
from storage import repairs
from storage.claims import Claim, Content, Held
from storage.database import Database
from storage.documents import record
from storage.documents.record import FetchedFile
from storage.errors import AttemptError, Doubted, LeaseLost, ServiceUnavailable
from storage.outcomes import Outcome
from storage.portal import attempts, doubts
from storage.retries import RetryPolicy
from storage.slots import LINGER_S
from storage.spool import Spool
from storage.telemetry.signals import UNSEEN, Signals
from storage.telemetry.tracing import Span

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is whole and checked; its row is to be told.

    `data`: what is in it, if whoever fetched it is to put it too; else it lies in the spool.
    `named`: what log lines about it name.
    """

    claim: Claim
    content: Content
    data: bytes | None = None
    named: dict[str, Any] = field(default_factory=dict)

    @property
    def lease(self) -> UUID:
        """The token of its claim."""
        return self.claim.lease


@dataclass(frozen=True)
class Downloader:
    """What fetching needs. With a `storer` small files may stay in memory for it."""

    database: Database
    portal: Portal
    watchdog: Watchdog
    spool: Spool
    messages: Messages
    keeper: Keeper
    policy: RetryPolicy
    deadline_s: float
    per_court: int
    storer: Storer | None = None
    signals: Signals = UNSEEN

    def download(self, claim: Claim, *, is_late: bool) -> Fetched | Outcome | None:
        """Fetches a document; what came of it, None when something of ours is away.

        What was fetched must be recorded: by `record`, or with others by `hand_over`.

        `is_late`: the claim may be over by now, so it is given back unused.
        """
        with (
            structlog.contextvars.bound_contextvars(
                job_id=str(claim.job_id), document_id=str(claim.document_id)
            ),
            self.signals.step(
                "download",
                job_id=claim.job_id,
                document_id=claim.document_id,
                traceparent=claim.traceparent,
            ) as span,
        ):
            if is_late:
                return self._stop(claim)
            try:
                return self._attempt(claim, span)
            except LeaseLost:
                span.fail("LEASE_LOST")
                return self._stop(claim)

    def _attempt(self, claim: Claim, span: Span) -> Fetched | Outcome | None:
        try:
            content, data = self._fetch(claim)
        except AttemptError as error:
            outcome = self._insist(partial(self._failed, claim, error))
            span.fail(error.reason)
            if outcome.delay_s is not None:
                self.signals.retried("download", error.reason)
            return self._told(claim, outcome)
        except ServiceUnavailable as error:
            log.warning("fetching postponed", part=error.part)
            span.fail(error.reason)
            self.signals.retried("download", error.reason)
            delay_s = error.retry_in_s
            self._insist(lambda: attempts.give_back(self.database, claim, delay_s=delay_s))
            self.messages.download_lanes(claim.job_id, 1, delay_s=delay_s)
            return None
        except LeaseLost:
            raise
        except Exception:
            # A bug of ours. It counts as a lost worker, so that the document ends all the same.
            log.exception("attempt broke")
            span.fail("INTERNAL")
            return self._lost(claim)
        self.signals.passed("download", content.size_bytes)
        return Fetched(claim, content, data, structlog.contextvars.get_contextvars())

    def _failed(self, claim: Claim, error: AttemptError) -> Outcome:
        """Record an attempt without a document. What is only to be compared has not failed."""
        if isinstance(error, Doubted) and error.is_first:
            delay_s = self.policy.compare_s()
            outcome = attempts.compare(self.database, claim, error, delay_s=delay_s)
            log.info("text is compared with another answer", retry_in_s=delay_s)
            return outcome
        outcome = attempts.fail_attempt(self.database, claim, error, self.policy)
        log.warning("attempt failed", reason=error.reason, retry_in_s=outcome.delay_s)
        return outcome

    def _fetch(self, claim: Claim) -> tuple[Content, bytes | None]:
        """What the file is and, if it is in memory only, what is in it."""
        in_memory = self.storer is not None
        with (
            self.spool.create(claim.lease, claim.listed_size_bytes, in_memory=in_memory) as file,
            self.watchdog.limit(self.deadline_s) as deadline,
            self.keeper.holding(claim.lease, lambda: deadline.cut(LeaseLost("Taken back."))),
        ):
            content = self.portal.fetch(
                claim.process_number,
                claim.href,
                file.write,
                expected=claim,
                limit_s=self.deadline_s,
                deadline=deadline,
                on_start=lambda size_bytes: file.reserve(size_bytes or 0),
            )
            if content.is_doubtful:
                # Raised here, the answer leaves nothing in the spool.
                doubts.weigh(self.database, claim, content, self.policy)
        return content, self._in_hand(claim, file.data)

    def _in_hand(self, claim: Claim, data: bytes | None) -> bytes | None:
        """What stays in memory: nothing while it could not be put, since it would be lost there."""
        if data is not None and self.storer and not self.storer.is_free:
            self.spool.keep(claim.lease, data)
            return None
        return data

    def lay_down(self, fetched: Fetched) -> Fetched:
        """The same file, in the spool if it cannot be put now and there is room."""
        with suppress(ServiceUnavailable):
            return replace(fetched, data=self._in_hand(fetched.claim, fetched.data))
        return fetched

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=lambda: self.keeper.is_stopping)

    def record(self, fetched: Fetched) -> None:
        """Has the row of a file say that it is in the spool, however long PostgreSQL is away."""
        claim = fetched.claim
        with structlog.contextvars.bound_contextvars(**fetched.named):
            try:
                if fetched.data is not None:
                    self.spool.keep(claim.lease, fetched.data)
                with self.keeper.holding(claim.lease):
                    done = self._insist(
                        lambda: record.record_fetched(
                            self.database,
                            [FetchedFile(claim, fetched.content, claim.lease)],
                            spool_id=self.spool.spool_id,
                            waits=True,
                        )
                    )
            except ServiceUnavailable:
                raise
            except Exception:
                # A bug of ours; see _attempt.
                log.exception("file not recorded")
                self._lost(claim)
            else:
                if done.recorded:
                    self.hand_over([claim])
                    self.wake(claim.job_id, done.begins)
                else:
                    self._stop(claim)
                    self.messages.download_lanes(claim.job_id, 1, delay_s=LINGER_S)

    def hand_over(self, spooled: Sequence[Held]) -> None:
        """Wakes the uploader for files in the spool whose rows are told."""
        if spooled:
            first = spooled[0]
            self.messages.wake_uploader(
                self.spool.spool_id, first.job_id, first.document_id, first.lease
            )

    def wake(self, job_id: UUID, wakes: int) -> None:
        """Wakes others for what may begin now that an answer was good; `job_id` is its job."""
        if wakes:
            self.messages.download_lanes(job_id, min(wakes, self.per_court))

    def _lost(self, claim: Claim) -> Outcome:
        outcome = self._insist(lambda: attempts.give_back(self.database, claim, is_lost=True))
        self._discard(claim)
        return self._told(claim, outcome)

    def _told(self, claim: Claim, outcome: Outcome) -> Outcome:
        if outcome.job_has_ended:
            self.messages.job_ended(claim.job_id, outcome.due_webhooks or ())
        return outcome

    def _stop(self, claim: Claim) -> Outcome:
        log.warning("claim taken back")
        # When it is this process that stops, the row is still ours to return at once; and when
        # PostgreSQL was away for longer than a lease.
        self._insist(lambda: attempts.stop(self.database, claim))
        self._discard(claim)
        # Its slots are free a moment later.
        return Outcome(None, job_has_ended=False, lingers=True)

    def _discard(self, claim: Claim) -> None:
        # Only when no row names the file: our own COMMIT may have gone through unseen.
        if repairs.unowned(self.database, [claim.lease]):
            self.spool.remove(claim.lease)
