"""storing: a checked file into the bucket, and its row says that it is there.

Whoever has the file does it: a worker with a small one that it has just fetched and still has in
memory, an uploader with one that lies in its spool.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import structlog

from actors.enqueue import Messages
from actors.keeper import Keeper
from actors.outage import insist
from storage import claims, logs, repairs
from storage.claims import Spooled
from storage.database import Database
from storage.documents import record, uploads
from storage.documents.record import StoredFile, StoredRound
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.objects import Objects, Upload, object_key
from storage.outcomes import Outcome
from storage.portal import attempts
from storage.retries import jittered
from storage.spool import Spool
from storage.telemetry.signals import SIZE_BYTES, UNSEEN, Signals
from storage.telemetry.tracing import Span

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POSTPONE_BASE_S = 1.0
POSTPONE_CAP_S = 30.0
# How long the bucket may take while a slot of the portal is held; and while a worker, which has
# other things to do, has the file in memory.
HURRY_S, PATIENCE_S = 3.0, 5.0
# What takes longer to be put is slow.
SLOW_S = 2.0


@dataclass(slots=True, eq=False)
class Put:
    """A file that the bucket holds under `key`; its row is to be told, unless it `is_recorded`.

    `data`: what is in it, if it never lay in the spool, until its row is told. `named`: what log
    lines about it name.
    """

    file: Spooled
    key: str
    data: bytes | None
    named: dict[str, Any]
    is_recorded: bool = False

    @property
    def lease(self) -> UUID:
        """The token of its claim."""
        return self.file.lease

    @property
    def stored(self) -> StoredFile:
        """What its row is to be told."""
        return StoredFile(self.file, self.key, self.file.lease if self.file.is_fresh else None)


@dataclass
class _Traffic:
    """Since when files are being put, and how the bucket has answered of late.

    `failures`: how many in a row it did not take; `away_until`: until when it is left alone.
    """

    begun: dict[int, float] = field(default_factory=dict)
    failures: int = 0
    away_until: float = 0.0

    def failed(self) -> None:
        """Has the bucket be left alone, for longer each time."""
        pause_s = POSTPONE_BASE_S * 2 ** min(self.failures, 10)
        self.failures += 1
        self.away_until = monotonic() + min(POSTPONE_CAP_S, pause_s)


@dataclass(frozen=True)
class Storer:
    """What storing a file needs. So many `threads` may do it."""

    database: Database
    objects: Objects
    spool: Spool
    messages: Messages
    keeper: Keeper
    is_stopping: Callable[[], bool]
    lanes: int
    threads: int = 1
    signals: Signals = UNSEEN
    _traffic: _Traffic = field(default_factory=_Traffic)

    @property
    def is_free(self) -> bool:
        """Whether the bucket answers, and does not keep half of all threads waiting.

        When it has been away, one tries it before all others do.
        """
        now, traffic = monotonic(), self._traffic
        if traffic.failures and (now < traffic.away_until or traffic.begun):
            return False
        slow = sum(now - begun > SLOW_S for begun in [*traffic.begun.values()])
        return slow * 2 < self.threads

    def put(self, file: Spooled, data: bytes | None = None) -> tuple[Put | None, bool]:
        """What was put, if anything was, and whether the bucket is there.

        `data`: what is in the file, if it is not in the spool. If it cannot be put now it is laid
        there.
        """
        with self._step(file) as span:
            try:
                return self._put(file, data, span)
            except LeaseLost:
                log.warning("claim taken back")
                span.fail("LEASE_LOST")
                self.discard(file.lease)
                return None, True

    def _put(self, file: Spooled, data: bytes | None, span: Span) -> tuple[Put | None, bool]:
        try:
            return self._send(file, data, None if data is None else PATIENCE_S), True
        except (FileNotFoundError, TransientError):
            span.fail("CORRUPT")
            self._lost(file)
            return None, True
        except ServiceUnavailable as error:
            span.fail(error.reason)
            self._postpone(file, data, error)
            return None, False

    def put_at_once(self, file: Spooled, data: bytes) -> Put | None:
        """What was put before its row says that it was fetched; None: that is to be told first."""
        if not self.is_free:
            return None
        with self._step(file) as span:
            try:
                return self._send(file, data, HURRY_S)
            except (TransientError, ServiceUnavailable) as error:
                log.warning("not put at once", reason=error.reason)
                span.fail(error.reason)
                self.signals.retried("upload", error.reason)
                return None

    @contextmanager
    def _step(self, file: Spooled) -> Iterator[Span]:
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
            yield span

    def _send(self, file: Spooled, data: bytes | None, limit_s: float | None) -> Put:
        key = self.objects.prefix + object_key(
            file.client, file.process_number, file.document_id, file.sha256, file.extension
        )
        is_unwanted = threading.Event()
        with (
            self._counted(),
            self.keeper.holding(file.lease, is_unwanted.set),
            self.signals.request("s3", "PUT", SIZE_BYTES, file.size_bytes),
        ):
            self.objects.put(
                Upload(
                    source=self.spool.path(file.lease) if data is None else data,
                    key=key,
                    size_bytes=file.size_bytes,
                    sha256=file.sha256,
                    content_type=file.content_type,
                    name=file.name,
                    is_wanted=lambda: not is_unwanted.is_set(),
                    limit_s=limit_s,
                )
            )
        return Put(file, key, data, structlog.contextvars.get_contextvars())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        traffic, thread = self._traffic, threading.get_ident()
        traffic.begun[thread] = monotonic()
        try:
            yield
            traffic.failures = 0
        except ServiceUnavailable:
            traffic.failed()
            raise
        finally:
            del traffic.begun[thread]

    def _lost(self, file: Spooled) -> None:
        log.warning("file gone or altered; it is fetched again")
        self.signals.retried("upload", "CORRUPT")
        outcome = attempts.give_back(self.database, file, is_lost=True)
        self.spool.remove(file.lease)
        self._go_on(file, replace(outcome, wakes=1))

    def _postpone(self, file: Spooled, data: bytes | None, error: ServiceUnavailable) -> None:
        delay_s = jittered(min(POSTPONE_CAP_S, POSTPONE_BASE_S * 2 ** min(file.pause_count, 10)))
        log.warning("upload postponed", part=error.part, retry_in_s=round(delay_s, 1))
        self.signals.retried("upload", error.reason)
        if data is not None:
            try:
                # Or else the portal would be asked for it again.
                self.spool.keep(file.lease, data)
            except ServiceUnavailable:
                self._insist(lambda: attempts.give_back(self.database, file, delay_s=delay_s))
                self.messages.download_lanes(file.job_id, 1, delay_s=delay_s)
                return
        self._insist(
            lambda: uploads.postpone_upload(
                self.database, file, spool_id=self.spool.spool_id, delay_s=delay_s
            )
        )
        self.messages.upload(
            self.spool.spool_id, file.job_id, file.document_id, file.lease, delay_s=delay_s
        )

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=self.is_stopping)

    def record_all(self, put: Sequence[Put]) -> StoredRound:
        """Record in one round that the bucket holds files. What is busy stays unrecorded.

        Raises ServiceUnavailable.
        """
        unrecorded = [each for each in put if not each.is_recorded]
        done = record.record_stored(
            self.database, [each.stored for each in unrecorded], lanes=self.lanes
        )
        self._go_on_after(done, unrecorded)
        return done

    def _go_on_after(self, done: StoredRound, put: Sequence[Put]) -> None:
        recorded = [each for each in put if each.file.lease in done.recorded]
        self._told(*recorded)
        last = {each.file.job_id: each for each in recorded}
        for job_id, due in done.ended.items():
            with _naming(last[job_id].named):
                self.messages.job_ended(job_id, due)
        if done.begins and recorded:
            self.messages.wake_lanes(recorded[0].file.job_id)

    def _told(self, *told: Put) -> None:
        with logs.together():
            for put in told:
                put.is_recorded = True
                log.info("document stored", **put.named, size_bytes=put.file.size_bytes)
        for put in told:
            self.signals.passed("upload", put.file.size_bytes)
            if put.data is None:
                self.spool.remove(put.file.lease)
            # Whoever put it keeps this until it has put the next one.
            put.data = None

    def record(self, put: Put) -> None:
        """Record a file by itself, however long PostgreSQL is away."""
        file = put.file
        with _naming(put.named):
            with self.keeper.holding(file.lease):
                done = self._insist(
                    lambda: record.record_stored(
                        self.database, [put.stored], lanes=self.lanes, waits=True
                    )
                )
            if done.recorded:
                self._go_on_after(done, [put])
                if done.freed_lanes:
                    # Whoever waited for the lane has gone on to other jobs.
                    self.messages.wake_lanes(file.job_id)
            elif again := self._put_again(put):
                self.record(again)
            else:
                self._give_up(put)

    def _give_up(self, put: Put) -> None:
        log.warning("claim taken back")
        if put.data is not None:
            # The file is nowhere any more; its row may be ours after all.
            with suppress(LeaseLost):
                attempts.give_back(self.database, put.file)
        # Cancelled while it was put, say. The object is the sweep's: whether it was there before,
        # for another job, is not known here.
        self.discard(put.file.lease)

    def _put_again(self, put: Put) -> Put | None:
        """What is in memory is put again if a sweep has taken the object, and its row is ours."""
        if put.data is None:
            return None
        with suppress(LeaseLost, TransientError, ServiceUnavailable):
            file = claims.to_put_again(self.database, put.file)
            return self._send(file, put.data, PATIENCE_S) if file else None
        return None

    def _go_on(self, file: Spooled, outcome: Outcome) -> None:
        if outcome.job_has_ended:
            self.messages.job_ended(file.job_id, outcome.due_webhooks or ())
        if outcome.wakes:
            # A lane is free again, say. Who waited for it has gone on to other jobs.
            self.messages.wake_lanes(file.job_id)

    def discard(self, lease: UUID) -> None:
        """Deletes the spool file of a claim, unless a row names it."""
        if repairs.unowned(self.database, [lease]):
            self.spool.remove(lease)


def _naming(names: dict[str, Any]) -> AbstractContextManager[None]:
    """For the block, log lines name these: whoever leads a round has names of its own."""
    return structlog.contextvars.bound_contextvars(**names)
