"""upload: a file from the spool of this host into the bucket; then its document is AVAILABLE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from actors.hints.hint_channel import HintSender
from actors.hints.hints import Ended
from actors.messaging.enqueuer import Enqueuer
from actors.pipeline.file_recorder import Batch, FileRecorder
from actors.pipeline.group_commit import GroupCommit
from actors.pipeline.job_end import JobEnds
from actors.pipeline.object_writer import (
    POSTPONE_BASE_S,
    POSTPONE_CAP_S,
    ObjectWriter,
    WrittenObject,
)
from actors.resilience.retry import retry_until_available
from storage.documents.leases import postpone_upload, take_uploads
from storage.environment import disk_errors
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.portal import attempts
from storage.portal.document_claims import CheckedFile
from storage.portal.retries import jittered
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.spool import Spool
from storage.telemetry.tracing import Span

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Uploader:
    """The dependencies of emptying a spool. `lease_s`: seconds of an upload's lease, renewed."""

    database: Database
    spool: Spool
    writer: ObjectWriter
    recorder: FileRecorder
    messages: Enqueuer
    ends: JobEnds
    hints: HintSender
    lease_s: float
    is_stopping: Callable[[], bool]
    _takes: GroupCommit[UUID | None, CheckedFile | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_takes", GroupCommit(self._take))

    def upload_document(self, _job_id: UUID, _document_id: UUID, lease: UUID) -> None:
        """Store the file of a lease if it waits, then any other file that waits in the spool."""
        try:
            self._store_all(lease)
        except ServiceUnavailable as error:
            log.warning("document postponed", lease=str(lease), part=error.part)

    def poll(self, found: Callable[[], None]) -> bool:
        """Store waiting files. Return whether there was one; `found` is called before.

        Raises ServiceUnavailable.
        """
        file = self._takes.submit(None)
        if file is None:
            return False
        found()
        return self._store(file)

    def _store_all(self, lease: UUID | None) -> None:
        while not self.is_stopping():
            file = self._takes.submit(lease)
            if file is None or not self._store(file):
                return
            lease = None

    def _take(self, leases: Sequence[UUID | None]) -> list[CheckedFile | None]:
        """Take a file for each waiting thread, those of `leases` first."""
        taken = take_uploads(
            self.database,
            self.spool.spool_id,
            woken_by=[lease for lease in leases if lease],
            most=len(leases),
            lease_s=self.lease_s,
        )
        return [*taken, *[None] * (len(leases) - len(taken))]

    def _store(self, file: CheckedFile) -> bool:
        """Put and record a file. Return whether the bucket accepts files."""
        with self.writer.renewer.holding(file.lease):
            with self.writer.step(file) as span:
                stored, is_ready = self._put(file, span)
            if stored is not None:
                self.recorder.record(Batch(stored=[stored]))
                self.hints.send(Ended(file.job_id, file.document_id))
        return is_ready

    def _put(self, file: CheckedFile, span: Span) -> tuple[WrittenObject | None, bool]:
        try:
            return self.writer.put(file, None, limit_s=None), True
        except LeaseLost:
            log.warning("claim taken back")
            span.fail("LEASE_LOST")
            if reconciliation.orphaned_tokens(self.database, [file.lease]):
                self.spool.remove(file.lease)
            return None, True
        except (FileNotFoundError, TransientError):
            span.fail("CORRUPT")
            self._lose(file)
            return None, True
        except ServiceUnavailable as error:
            span.fail(error.reason)
            self._postpone(file, error)
            return None, False
        except OSError as error:
            # The file is there and cannot be read.
            span.fail("UNAVAILABLE")
            self._postpone(file, disk_errors.refusal(error))
            return None, False

    def _lose(self, file: CheckedFile) -> None:
        try:
            outcome = attempts.give_back(self.database, file, is_lost=True)
        except LeaseLost:
            # Its job has ended meanwhile, and no row needs the file.
            self.spool.remove(file.lease)
            return
        log.warning("file gone or altered; it is fetched again")
        self.writer.signals.retried("upload", "CORRUPT")
        self.spool.remove(file.lease)
        self.hints.send(Ended(file.job_id, file.document_id, returned=(file.document_id,)))
        if outcome.job_has_ended:
            self.ends.publish(file.job_id)

    def _postpone(self, file: CheckedFile, error: ServiceUnavailable) -> None:
        delay_s = jittered(min(POSTPONE_CAP_S, POSTPONE_BASE_S * 2 ** min(file.pause_count, 10)))
        log.warning("upload postponed", part=error.part, retry_in_s=round(delay_s, 1))
        self.writer.signals.retried("upload", error.reason)
        retry_until_available(
            lambda: postpone_upload(
                self.database, file, spool_id=self.spool.spool_id, delay_s=delay_s
            ),
            is_stopping=self.is_stopping,
        )
        self.messages.upload(
            self.spool.spool_id, file.job_id, file.document_id, file.lease, delay_s=delay_s
        )
