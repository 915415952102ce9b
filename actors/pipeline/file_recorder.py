"""Record files with a group commit, and free the slots of slices after their last answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from actors.pipeline.answered_slices import AnsweredSlices
from actors.pipeline.fetch import DocumentFetcher, Fetched
from actors.pipeline.group_commit import GroupCommit
from actors.pipeline.job_end import JobEnds
from actors.pipeline.object_writer import ObjectWriter, WrittenObject
from actors.resilience.retry import retry_until_available
from storage import logs, sql
from storage.documents.file_records import (
    BUSY_ROUNDS,
    Round,
    record_fetched,
    record_stored,
)
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.portal import attempts, document_claims
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.spool import Spool
from storage.telemetry.signals import NOOP_SIGNALS, Signals

T = TypeVar("T")

# Seconds for putting an object again that a sweep deleted.
PUT_AGAIN_LIMIT_S = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one slice or one upload: files in the bucket, and files in the spool."""

    stored: Sequence[WrittenObject] = ()
    spooled: Sequence[Fetched] = ()


@dataclass
class FileRecorder:
    """The dependencies of recording. Thread-safe."""

    database: Database
    spool: Spool
    ends: JobEnds
    writer: ObjectWriter
    fetcher: DocumentFetcher | None
    is_stopping: Callable[[], bool]
    signals: Signals = NOOP_SIGNALS
    answered: AnsweredSlices = field(init=False)
    _group: GroupCommit[Batch, Round] = field(init=False)

    def __post_init__(self) -> None:
        self._group = GroupCommit(self._commit)
        self.answered = AnsweredSlices(self._free_slots)

    def record(self, batch: Batch) -> None:
        """Record files. Retry while PostgreSQL is unavailable, as long as this process runs.

        Raises ServiceUnavailable once the process stops. Another process finds the files then.
        """
        for _ in range(BUSY_ROUNDS):
            outcome = self._insist(partial(self._group.submit, batch))
            self._settle(batch, outcome)
            left = _left(batch, outcome.busy)
            if left is None:
                return
            batch = left
        # Another transaction has locked the rows: wait for them, without other batches that would
        # wait, too. One file at a time: one that cannot be recorded takes no other with it.
        for alone in _singles(batch):
            self._record_alone(alone)

    def _record_alone(self, file: Batch) -> None:
        try:
            outcome = self._insist(partial(self._record_batches, [file], waits=True))
        except ServiceUnavailable:
            raise
        except Exception:
            # Its lease expires, and another worker takes it.
            log.exception("file not recorded")
        else:
            self._settle(file, outcome)

    def _commit(self, batches: Sequence[Batch]) -> Sequence[Round]:
        outcome = self._record_batches(batches, waits=False)
        return [outcome] * len(batches)

    def _record_batches(self, batches: Sequence[Batch], *, waits: bool) -> Round:
        stored = [each for batch in batches for each in batch.stored]
        spooled = [each for batch in batches for each in batch.spooled]
        # Slots are not held while a round waits for rows.
        tokens = [] if waits else self.answered.take_all()
        done = Round()
        try:
            if stored:
                done = record_stored(self.database, stored, answered=tokens, waits=waits)
                self._publish_ends(done, stored)
            if spooled:
                slots = [] if done.has_noted_answers else tokens
                done.join(record_fetched(self.database, spooled, answered=slots, waits=waits))
        except ServiceUnavailable:
            if not done.recorded:
                raise
            # Return what is already recorded. The other files are recorded in the next round.
            done.busy |= {each.lease for each in spooled}
        finally:
            if not done.has_noted_answers:
                self.answered.add(*tokens)
        return done

    def _publish_ends(self, done: Round, stored: Iterable[WrittenObject]) -> None:
        contexts = {each.file.job_id: each.log_context for each in stored}
        for job_id, due in done.ended.items():
            with structlog.contextvars.bound_contextvars(**contexts[job_id]):
                self.ends.publish(job_id, due)

    def _free_slots(self, tokens: Sequence[UUID]) -> None:
        self.database.call(sql.function("portal_answered"), slot_tokens=list(tokens))

    def _settle(self, batch: Batch, outcome: Round) -> None:
        """Do what follows for the recorded or lost files of a batch."""
        recorded = [each for each in batch.stored if each.lease in outcome.recorded]
        with logs.together():
            for each in recorded:
                log.info("document stored", **each.log_context, size_bytes=each.file.size_bytes)
        for each in recorded:
            self.signals.passed("upload", each.file.size_bytes)
            if each.data is None:
                self.spool.remove(each.lease)
        waiting = [each for each in batch.spooled if each.lease in outcome.recorded]
        for fetched in waiting:
            claim = fetched.claim
            self.ends.messages.upload(
                self.spool.spool_id, claim.job_id, claim.document_id, claim.lease
            )
        for each in batch.stored:
            if each.lease in outcome.lost:
                self._lost(each)
        for fetched in batch.spooled:
            if fetched.lease in outcome.lost and self.fetcher:
                with structlog.contextvars.bound_contextvars(**fetched.log_context):
                    self.fetcher.take_back(fetched.claim)

    def _lost(self, stored: WrittenObject) -> None:
        with structlog.contextvars.bound_contextvars(**stored.log_context):
            if again := self._reupload_if_swept(stored):
                self.record(Batch(stored=[again]))
                return
            log.warning("claim taken back")
            if stored.data is not None:
                # The file no longer exists anywhere, but this claim may still hold its row.
                with suppress(LeaseLost):
                    self._insist(lambda: attempts.give_back(self.database, stored.file))
            if reconciliation.orphaned_tokens(self.database, [stored.lease]):
                self.spool.remove(stored.lease)

    def _reupload_if_swept(self, stored: WrittenObject) -> WrittenObject | None:
        """Put an object again from memory if a sweep deleted it and the claim is still valid."""
        if stored.data is None:
            return None
        with suppress(LeaseLost, TransientError, ServiceUnavailable):
            file = document_claims.retake_for_upload(self.database, stored.file)
            if file:
                return self.writer.put(file, stored.data, limit_s=PUT_AGAIN_LIMIT_S)
        return None

    def _insist(self, write: Callable[[], T]) -> T:
        return retry_until_available(write, is_stopping=self.is_stopping)


def _singles(batch: Batch) -> list[Batch]:
    return [
        *(Batch(stored=[each]) for each in batch.stored),
        *(Batch(spooled=[each]) for each in batch.spooled),
    ]


def _left(batch: Batch, busy: set[UUID]) -> Batch | None:
    """Return the rest of a batch, None if nothing is left."""
    stored = [each for each in batch.stored if each.lease in busy]
    spooled = [each for each in batch.spooled if each.lease in busy]
    return Batch(stored, spooled) if stored or spooled else None
