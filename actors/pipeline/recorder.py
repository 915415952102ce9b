"""Record files with a group commit, and free the slots of slices whose last answer has come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TypeVar
from uuid import UUID

import structlog

from actors.outage import insist
from actors.pipeline.fetch import DocumentFetcher, Fetched
from actors.pipeline.group_commit import GroupCommit
from actors.pipeline.job_end import JobEnds
from actors.pipeline.store import ObjectWriter, StoredObject
from storage import claims, logs, repairs, sql
from storage.database import Database
from storage.documents.record import (
    BUSY_ROUNDS,
    FetchedFile,
    FetchedRound,
    StoredRound,
    record_fetched,
    record_stored,
)
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.portal import attempts
from storage.spool import Spool
from storage.telemetry.signals import UNSEEN, Signals

T = TypeVar("T")

# A slice whose last answer came this long ago, in seconds, waits no more for a round that frees
# its slot together with a record.
FREE_AFTER_S = 0.02
# Putting an object again that a sweep deleted may take this long.
PUT_AGAIN_LIMIT_S = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one slice or one upload has to record.

    `slot_token`: of the slice that requested the files; None for files from the spool.
    """

    stored: Sequence[StoredObject] = ()
    spooled: Sequence[Fetched] = ()
    slot_token: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    stored: StoredRound
    fetched: FetchedRound

    @property
    def busy(self) -> set[UUID]:
        return self.stored.busy | self.fetched.busy


class AnsweredSlices:
    """Slices whose last answer has come and whose slots are not free yet. Thread-safe."""

    def __init__(self, free: Callable[[Sequence[UUID]], None]) -> None:
        self._free = free
        self._lock = threading.Condition()
        self._since: dict[UUID, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, token: UUID) -> None:
        """Have the slots of a slice be freed with the next round, or soon."""
        with self._lock:
            self._since[token] = monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="free-slots", daemon=True)
                self._thread.start()
            self._lock.notify()

    def take_all(self) -> list[UUID]:
        """Take the tokens whose slots the caller's round frees."""
        with self._lock:
            tokens = list(self._since)
            self._since.clear()
        return tokens

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._since:
                    self._lock.wait()
                wait_s = min(self._since.values()) + FREE_AFTER_S - monotonic()
                if wait_s > 0:
                    self._lock.wait(wait_s)
                    continue
            if tokens := self.take_all():
                self._free(tokens)


@dataclass
class Recorder:
    """What recording needs. Thread-safe."""

    database: Database
    spool: Spool
    ends: JobEnds
    writer: ObjectWriter
    fetcher: DocumentFetcher | None
    lanes: int
    is_stopping: Callable[[], bool]
    signals: Signals = UNSEEN
    answered: AnsweredSlices = field(init=False)
    _group: GroupCommit[Batch, _Outcome] = field(init=False)

    def __post_init__(self) -> None:
        self._group = GroupCommit(self._commit)
        self.answered = AnsweredSlices(self._free_slots)

    def record(self, batch: Batch) -> None:
        """Record files, however long PostgreSQL is away while this process goes on.

        Raises ServiceUnavailable once the process stops; the files are found again then.
        """
        for _ in range(BUSY_ROUNDS):
            outcome = self._insist(partial(self._group.submit, batch))
            self._settle(batch, outcome)
            left = _left(batch, outcome.busy)
            if left is None:
                return
            batch = left
        # Another transaction holds the rows: wait for them, without others that would wait, too.
        outcome = self._insist(lambda: self._record_batches([batch], waits=True))
        self._settle(batch, outcome)

    def _commit(self, batches: Sequence[Batch]) -> Sequence[_Outcome]:
        outcome = self._record_batches(batches, waits=False)
        return [outcome] * len(batches)

    def _record_batches(self, batches: Sequence[Batch], *, waits: bool) -> _Outcome:
        stored = [each for batch in batches for each in batch.stored]
        spooled = [each for batch in batches for each in batch.spooled]
        answered = {batch.slot_token for batch in batches if batch.slot_token}
        tokens = [*answered.union(self.answered.take_all())]
        done_fetched, done_stored = FetchedRound(), StoredRound()
        if stored:
            done_stored = record_stored(
                self.database,
                [each.record(None) for each in stored],
                lanes=self.lanes,
                answered=tokens,
                waits=waits,
            )
            self._publish_ends(done_stored, stored)
            tokens = []
        if spooled:
            done_fetched = record_fetched(
                self.database,
                [FetchedFile(each.claim, each.content, None) for each in spooled],
                spool_id=self.spool.spool_id,
                answered=tokens,
                waits=waits,
            )
        return _Outcome(done_stored, done_fetched)

    def _publish_ends(self, done: StoredRound, stored: Iterable[StoredObject]) -> None:
        contexts = {each.file.job_id: each.log_context for each in stored}
        for job_id, due in done.ended.items():
            with structlog.contextvars.bound_contextvars(**contexts[job_id]):
                self.ends.publish(job_id, due)

    def _free_slots(self, tokens: Sequence[UUID]) -> None:
        try:
            self.database.call(sql.function("portal_answered"), slot_tokens=list(tokens))
        except ServiceUnavailable:
            # Nobody renews them, so their leases run out.
            log.warning("slots not freed", slots=len(tokens))
        except Exception:
            log.exception("slots not freed", slots=len(tokens))

    def _settle(self, batch: Batch, outcome: _Outcome) -> None:
        """Do what follows for the files of a batch that are recorded, or lost."""
        recorded = [each for each in batch.stored if each.lease in outcome.stored.recorded]
        with logs.together():
            for each in recorded:
                log.info("document stored", **each.log_context, size_bytes=each.file.size_bytes)
        for each in recorded:
            self.signals.passed("upload", each.file.size_bytes)
            if each.data is None:
                self.spool.remove(each.lease)
        waiting = [each for each in batch.spooled if each.lease in outcome.fetched.recorded]
        for fetched in waiting:
            claim = fetched.claim
            self.ends.messages.upload(
                self.spool.spool_id, claim.job_id, claim.document_id, claim.lease
            )
        for each in batch.stored:
            if each.lease in outcome.stored.lost:
                self._lost(each)
        for fetched in batch.spooled:
            if fetched.lease in outcome.fetched.lost and self.fetcher:
                with structlog.contextvars.bound_contextvars(**fetched.log_context):
                    self.fetcher.take_back(fetched.claim)

    def _lost(self, stored: StoredObject) -> None:
        with structlog.contextvars.bound_contextvars(**stored.log_context):
            if again := self._put_again(stored):
                self.record(Batch(stored=[again]))
                return
            log.warning("claim taken back")
            if stored.data is not None:
                # The file is nowhere any more; its row may be ours after all.
                with suppress(LeaseLost):
                    attempts.give_back(self.database, stored.file)
            if repairs.unowned(self.database, [stored.lease]):
                self.spool.remove(stored.lease)

    def _put_again(self, stored: StoredObject) -> StoredObject | None:
        """Put again what is in memory, if a sweep has taken the object and its row is ours."""
        if stored.data is None:
            return None
        with suppress(LeaseLost, TransientError, ServiceUnavailable):
            file = claims.to_put_again(self.database, stored.file)
            if file:
                return self.writer.put(file, stored.data, limit_s=PUT_AGAIN_LIMIT_S)
        return None

    def _insist(self, say: Callable[[], T]) -> T:
        return insist(say, is_stopping=self.is_stopping)


def _left(batch: Batch, busy: set[UUID]) -> Batch | None:
    """Return what is left of a batch; None if nothing is."""
    stored = [each for each in batch.stored if each.lease in busy]
    spooled = [each for each in batch.spooled if each.lease in busy]
    return Batch(stored, spooled) if stored or spooled else None
