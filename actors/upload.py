"""upload: a spooled file into the bucket; then the document is available and its lane goes on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import structlog

from actors.combiner import Combiner
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


@dataclass(frozen=True, slots=True)
class _Put:
    """A file that the bucket holds under `key`; its row is to be told.

    `named`: what log lines about it name.
    """

    file: Spooled
    key: str
    named: dict[str, Any]


@dataclass(slots=True, eq=False)
class _Turn:
    """A thread that asks for a file, and what it has put before.

    `woken_by`: the claim whose message woke it, at first; `is_unowned`: no row names its file.
    """

    put: _Put | None = None
    woken_by: UUID | None = None
    is_recorded: bool = False
    is_unowned: bool = False


@dataclass(frozen=True)
class Uploader:
    """What storing a file needs. So many `threads` may store."""

    database: Database
    objects: Objects
    spool: Spool
    messages: Messages
    keeper: Keeper
    stopping: threading.Event
    lease_s: float
    lanes: int
    threads: int = 1
    signals: Signals = UNSEEN
    turns: Combiner[_Turn, Spooled] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Combiner(self._round, threads=self.threads))

    def upload_document(self, job_id: UUID, document_id: UUID, lease: UUID) -> None:
        """Stores the file of a claim, unless somebody does or nobody wants it any more.

        Then any other file that waits: its message may not have been sent, since this one was.
        """
        turn = _Turn(woken_by=lease)
        with self.turns.taking_part():
            while True:
                file = self._next(turn)
                if turn.is_unowned:
                    with structlog.contextvars.bound_contextvars(
                        job_id=str(job_id), document_id=str(document_id)
                    ):
                        self._discard(lease)
                if file is None:
                    return
                put, is_there = self._upload(file)
                turn = _Turn(put=put)
                if not is_there or self.stopping.is_set():
                    break
        if put is not None:
            self._record(put)
        if self.stopping.is_set():
            # Another process goes on.
            self.messages.upload(self.spool.spool_id, job_id, document_id, lease)

    def _next(self, turn: _Turn) -> Spooled | None:
        """A file that waits, once what was put before is recorded."""
        try:
            file = self.turns.ask(turn)
        except Exception:
            if turn.put and not turn.is_recorded:
                self._record(turn.put)
            raise
        if turn.put and not turn.is_recorded:
            self._record(turn.put)
        return file

    def _round(self, turns: Sequence[_Turn]) -> list[Spooled | None]:
        """Records what was put, then takes files for all of these."""
        self._record_all({t.put.file.lease: t for t in turns if t.put and not t.is_recorded})
        woken_by = [turn.woken_by for turn in turns if turn.woken_by]
        found = claims.next_uploads(
            self.database,
            self.spool.spool_id,
            woken_by=woken_by,
            most=len(turns),
            lease_s=self.lease_s,
        )
        for turn in turns:
            turn.is_unowned = turn.woken_by is not None and turn.woken_by not in found.owned
        if found.are_more:
            last = found.files[-1]
            self.messages.wake_uploader(
                self.spool.spool_id, last.job_id, last.document_id, last.lease
            )
        return [*found.files, *[None] * (len(turns) - len(found.files))]

    def _record_all(self, turns: Mapping[UUID, _Turn]) -> None:
        """What cannot be recorded together, each thread records by itself."""
        put = {lease: turn.put for lease, turn in turns.items() if turn.put}
        if not put:
            return
        files = [(each.file, each.key) for each in put.values()]
        try:
            recorded = claims.all_stored(self.database, files, lanes=self.lanes)
            # Lanes are free again. The workers that waited for them have gone on to other jobs.
            for job_id in list(recorded.wakes)[:1]:
                self.messages.wake_lanes(job_id)
            for lease in recorded.stored:
                turns[lease].is_recorded = True
            for lease in recorded.stored:
                self._told(put[lease])
            for lease in recorded.last:
                self._end(put[lease], turns[lease])
        except ServiceUnavailable:
            raise
        except Exception:
            log.exception("files not recorded together")

    def _end(self, put: _Put, turn: _Turn) -> None:
        """The last file of a job is recorded apart, with all that the end of the job takes."""
        try:
            outcome = claims.stored_last(self.database, put.file, put.key, lanes=self.lanes)
        except LeaseLost:
            return
        turn.is_recorded = True
        self._told(put)
        with _naming(put.named):
            self._go_on(put.file, outcome)

    def _told(self, put: _Put) -> None:
        log.info("document stored", **put.named, size_bytes=put.file.size_bytes)
        self.signals.passed("upload", put.file.size_bytes)
        self.spool.remove(put.file.lease)

    def _record(self, put: _Put) -> None:
        """Has the row of a file say that the bucket holds it, however long PostgreSQL is away."""
        file = put.file
        with _naming(put.named):
            try:
                outcome = insist(
                    lambda: claims.stored(self.database, file, put.key, lanes=self.lanes),
                    is_stopping=self.stopping.is_set,
                )
            except LeaseLost:
                log.warning("claim taken back")
                # Cancelled while it was put, say: nobody names the object. If it cannot be deleted
                # now, the sweep will.
                with suppress(ServiceUnavailable):
                    sweeps.delete_unnamed(self.database, self.objects, [put.key])
                self._discard(file.lease)
            else:
                self._told(put)
                self._go_on(file, outcome)

    def _upload(self, file: Spooled) -> tuple[_Put | None, bool]:
        """What was put, if anything was, and whether the bucket is there."""
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
                return None, True

    def _store(self, file: Spooled, span: Span) -> tuple[_Put | None, bool]:
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
            return None, False
        else:
            return _Put(file, key, structlog.contextvars.get_contextvars()), True
        return None, True

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
            self.messages.wake_lanes(file.job_id)

    def _discard(self, lease: UUID) -> None:
        if repairs.unowned(self.database, [lease]):
            self.spool.remove(lease)


def _naming(names: dict[str, Any]) -> AbstractContextManager[None]:
    """For the block, log lines name these: whoever leads a round has names of its own."""
    return structlog.contextvars.bound_contextvars(**names)
