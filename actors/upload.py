"""upload: a spooled file into the bucket; then the document is available and its lane goes on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from storage import claims, repairs, sweeps, webhooks
from storage.claims import Spooled
from storage.database import Database
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.objects import Objects, Upload, object_key
from storage.outcomes import Outcome
from storage.retries import jittered
from storage.spool import Spool
from storage.telemetry.signals import SIZE_BYTES, UNSEEN, Signals
from storage.telemetry.tracing import Span

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POSTPONE_BASE_S = 1.0
POSTPONE_CAP_S = 30.0


@dataclass(frozen=True)
class Uploader:
    """What storing a file needs."""

    database: Database
    objects: Objects
    spool: Spool
    messages: Messages
    keeper: Keeper
    stopping: threading.Event
    lease_s: float
    lanes: int
    signals: Signals = UNSEEN

    def upload_document(self, job_id: UUID, document_id: UUID, lease: UUID) -> None:
        """Stores the file of a claim, unless somebody does or nobody wants it any more.

        Then any other file that waits: its message may not have been sent, since this one was.
        """
        file, is_owned = self._next(lease)
        if not is_owned:
            with structlog.contextvars.bound_contextvars(
                job_id=str(job_id), document_id=str(document_id)
            ):
                self._discard(lease)
        while file is not None and self._upload(file) and not self.stopping.is_set():
            file, _ = self._next(file.lease)

    def _next(self, woken_by: UUID) -> tuple[Spooled | None, bool]:
        return claims.next_upload(
            self.database, self.spool.spool_id, woken_by=woken_by, lease_s=self.lease_s
        )

    def _upload(self, file: Spooled) -> bool:
        """Whether the bucket was there."""
        with (
            structlog.contextvars.bound_contextvars(
                job_id=str(file.job_id), document_id=str(file.document_id)
            ),
            self.signals.step(
                "upload",
                job_id=file.job_id,
                document_id=file.document_id,
                traceparent=file.traceparent,
            ) as span,
        ):
            try:
                return self._store(file, span)
            except LeaseLost:
                log.warning("claim taken back")
                span.fail("LEASE_LOST")
                self._discard(file.lease)
                return True

    def _store(self, file: Spooled, span: Span) -> bool:
        key = object_key(
            file.client, file.process_number, file.document_id, file.sha256, file.extension
        )
        is_unwanted = threading.Event()
        try:
            with (
                self.keeper.holding(file.lease, is_unwanted.set),
                self.signals.request("s3", "PUT", SIZE_BYTES, file.size_bytes),
            ):
                self.objects.put(
                    Upload(
                        path=self.spool.path(file.lease),
                        key=key,
                        size_bytes=file.size_bytes,
                        sha256=file.sha256,
                        content_type=file.content_type,
                        name=file.name,
                        is_wanted=lambda: not is_unwanted.is_set(),
                    )
                )
        except (FileNotFoundError, TransientError):
            span.fail("CORRUPT")
            self._lost(file)
        except ServiceUnavailable as error:
            span.fail(error.reason)
            self._postpone(file, error)
            return False
        else:
            self._done(file, key)
        return True

    def _done(self, file: Spooled, key: str) -> None:
        try:
            outcome = insist(
                lambda: claims.stored(self.database, file, key, lanes=self.lanes),
                is_stopping=self.stopping.is_set,
            )
        except LeaseLost:
            # Cancelled while it was put, say: nobody names the object.
            sweeps.delete_unnamed(self.database, self.objects, [key])
            raise
        log.info("document stored", size_bytes=file.size_bytes)
        self.signals.passed("upload", file.size_bytes)
        self.spool.remove(file.lease)
        self._go_on(file, outcome)

    def _lost(self, file: Spooled) -> None:
        log.warning("spool file gone or altered; it is fetched again")
        self.signals.retried("upload", "CORRUPT")
        outcome = claims.give_back(self.database, file, is_lost=True)
        self.spool.remove(file.lease)
        self._go_on(file, replace(outcome, wakes=1))

    def _postpone(self, file: Spooled, error: ServiceUnavailable) -> None:
        delay_s = jittered(min(POSTPONE_CAP_S, POSTPONE_BASE_S * 2 ** min(file.pause_count, 10)))
        log.warning("upload postponed", part=error.part, retry_in_s=round(delay_s, 1))
        self.signals.retried("upload", error.reason)
        claims.postpone_upload(self.database, file, delay_s=delay_s)
        self.messages.upload(
            self.spool.spool_id, file.job_id, file.document_id, file.lease, delay_s=delay_s
        )

    def _go_on(self, file: Spooled, outcome: Outcome) -> None:
        if outcome.job_has_ended:
            log.info("job ended")
            due = webhooks.due(self.database, file.job_id)
            self.messages.send_webhooks(file.job_id, due)
        elif outcome.wakes:
            # A lane is free again. The worker that waited for it has gone on to other jobs.
            self.messages.wake_lane(file.job_id)

    def _discard(self, lease: UUID) -> None:
        if repairs.unowned(self.database, [lease]):
            self.spool.remove(lease)
