"""Fetch one document from the portal, into memory or into the spool. Record every failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from actors.leases.lease_renewer import LeaseRenewer
from actors.pipeline.job_end import JobEnds
from actors.pipeline.request_gate import RequestGate
from actors.portal.portal_client import Portal
from actors.resilience.exchange_deadline import Watchdog
from actors.resilience.retry import retry_until_available
from storage.documents.file_records import FetchedFile
from storage.errors import AttemptError, Doubted, LeaseLost, ServiceUnavailable
from storage.portal import attempts, doubts
from storage.portal.document_claims import CheckedContent, DocumentClaim
from storage.portal.outcomes import Outcome
from storage.portal.retries import RetryPolicy
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.spool import Spool
from storage.telemetry.signals import NOOP_SIGNALS, Signals
from storage.telemetry.tracing import Span

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fetched(FetchedFile):
    """A fetched file that is not recorded yet.

    `data`: its bytes if they are in memory; None if the file is in the spool. `log_context`: the
    fields of its log lines.
    """

    data: bytes | None = None
    log_context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DocumentFetcher:
    """The dependencies of a fetch. `is_bucket_ready`: whether a small file may stay in memory."""

    database: Database
    portal: Portal
    watchdog: Watchdog
    spool: Spool
    renewer: LeaseRenewer
    policy: RetryPolicy
    deadline_s: float
    lease_s: float
    is_bucket_ready: Callable[[], bool]
    gate: RequestGate
    ends: JobEnds
    signals: Signals = NOOP_SIGNALS

    def fetch(self, claim: DocumentClaim) -> Fetched | Outcome:
        """Request a document. Return its file, or the outcome of its recorded failure."""
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
            try:
                return self._attempt(claim, span)
            except LeaseLost:
                span.fail("LEASE_LOST")
                return self.take_back(claim)

    def _attempt(self, claim: DocumentClaim, span: Span) -> Fetched | Outcome:
        try:
            content, data = self._request(claim)
        except AttemptError as error:
            return self._failed(claim, error, span)
        except ServiceUnavailable as error:
            log.warning("fetching postponed", part=error.part)
            span.fail(error.reason)
            self.signals.retried("download", error.reason)
            return self.give_back(claim, error.retry_in_s)
        except LeaseLost:
            raise
        except Exception:
            # A defect in Autos. It counts as a lost worker, so that the document ends in any case.
            log.exception("attempt failed unexpectedly")
            span.fail("INTERNAL")
            return self.lose(claim)
        self.signals.passed("download", content.size_bytes)
        return Fetched(claim, content, data, structlog.contextvars.get_contextvars())

    def _request(self, claim: DocumentClaim) -> tuple[CheckedContent, bytes | None]:
        """Return the checked content of the file, and its bytes if they are in memory only."""
        with (
            self.spool.create(claim.lease, claim.listed_size_bytes, in_memory=True) as file,
            self.watchdog.limit(self.deadline_s) as deadline,
            self.renewer.holding(claim.lease, lambda: deadline.cut(LeaseLost("Taken back."))),
        ):
            content = self.portal.fetch(
                claim.process_number,
                claim.href,
                file.write,
                client=claim.client,
                expected=claim,
                limit_s=self.deadline_s,
                deadline=deadline,
                on_start=lambda size_bytes: file.reserve(size_bytes or 0),
            )
            if content.is_doubtful or not claim.listed_size_bytes:
                # If this raises, the answer leaves no file in the spool.
                doubts.weigh(self.database, claim, content, self.policy)
        if file.data is not None and not self.is_bucket_ready():
            # In memory it would be lost with this process.
            self.spool.keep(claim.lease, file.data)
            return content, None
        return content, file.data

    def _failed(self, claim: DocumentClaim, error: AttemptError, span: Span) -> Outcome:
        outcome = self._insist(partial(self._record_failure, claim, error))
        if outcome.is_closed:
            self.gate.close(claim.process_number, error, outcome.closed_client)
        span.fail(error.reason)
        if outcome.delay_s is not None:
            self.signals.retried("download", error.reason)
        return self._ended(claim, outcome)

    def _record_failure(self, claim: DocumentClaim, error: AttemptError) -> Outcome:
        """Record an attempt without a document. An answer that awaits comparison is no failure."""
        if isinstance(error, Doubted) and error.is_first:
            delay_s = self.policy.compare_s()
            outcome = attempts.compare(self.database, claim, error, delay_s=delay_s)
            log.info("text is compared with another answer", retry_in_s=delay_s)
            return outcome
        outcome = attempts.fail_attempt(self.database, claim, error, self.policy)
        log.warning("attempt failed", reason=error.reason, retry_in_s=outcome.delay_s)
        return outcome

    def give_back(self, claim: DocumentClaim, delay_s: float) -> Outcome:
        """Give a document back uncounted, to be requested again after `delay_s` seconds."""
        self._insist(lambda: attempts.give_back(self.database, claim, delay_s=delay_s))
        return Outcome(delay_s, job_has_ended=False)

    def lose(self, claim: DocumentClaim) -> Outcome:
        """Give a document back because its file is lost. The fifth loss fails the document."""
        outcome = self._insist(lambda: attempts.give_back(self.database, claim, is_lost=True))
        self._discard(claim)
        return self._ended(claim, outcome)

    def take_back(self, claim: DocumentClaim) -> Outcome:
        """Give a document back because its lease is lost or its process stops."""
        log.warning("claim taken back")
        # If this process stops, or if PostgreSQL was unavailable for longer than a lease, the row
        # is still this claim's and can be returned at once.
        self._insist(lambda: attempts.stop(self.database, claim))
        self._discard(claim)
        return Outcome(None, job_has_ended=False)

    def _ended(self, claim: DocumentClaim, outcome: Outcome) -> Outcome:
        if outcome.job_has_ended:
            self.ends.publish(claim.job_id)
        return outcome

    def _insist(self, change: Callable[[], T]) -> T:
        return retry_until_available(change, is_stopping=lambda: self.renewer.is_stopping)

    def _discard(self, claim: DocumentClaim) -> None:
        # Only if no row names the file: this worker's COMMIT may have succeeded without an answer.
        if reconciliation.orphaned_tokens(self.database, [claim.lease]):
            self.spool.remove(claim.lease)
