"""Run a slice: its portal requests one after the other, then its S3 puts, then one record.

The slot of a slice is freed as soon as its last answer has arrived, even if its files are not
stored yet. So a slow bucket costs no time at the portal.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from uuid import UUID

import structlog

from actors.hints.hint_channel import HintSender
from actors.hints.hints import Ended, SliceBegun, SlotFreed, seconds_of
from actors.leases.lease_renewer import LeaseRenewer, SliceLeases
from actors.pipeline.answered_slices import free_after_s
from actors.pipeline.fetch import DocumentFetcher, Fetched
from actors.pipeline.file_recorder import Batch, FileRecorder
from actors.pipeline.object_writer import ObjectWriter, WrittenObject
from actors.resilience.retry import retry_until_available
from storage.errors import LeaseLost, PermanentError, ServiceUnavailable, TransientError
from storage.portal import document_claims
from storage.portal.outcomes import Outcome
from storage.portal.request_claims import Slice, release_slots, return_unstarted
from storage.postgres.database import Database
from storage.spool import Spool

# A file that the spool could not keep is requested again after this many seconds.
NO_ROOM_DELAY_S = 2.0
# The slice gives back documents whose requests have not begun this many seconds after the claim.
START_WITHIN_S = 0.25

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass
class _Progress:
    """The progress of a slice.

    `fetched`: files that were not put yet. `has_fetched`: whether there was any. `spooled`: ids of
    documents in the spool. `failure`: the outcome of the first answer that was no good file; it
    ends the requests. `returned`: ids of documents that were given back before their requests.
    `unreturned`: leases of documents that could not be given back yet. `storing`: the thread that
    puts files during a long request. `is_requested`: no further request begins, so no such thread
    is started. `lock` protects `storing` and `is_requested`.
    """

    leases: SliceLeases
    fetched: deque[Fetched] = field(default_factory=deque)
    has_fetched: bool = False
    spooled: list[UUID] = field(default_factory=list)
    storing: threading.Thread | None = None
    is_requested: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    failure: Outcome | None = None
    unreturned: list[UUID] = field(default_factory=list)
    returned: list[UUID] = field(default_factory=list)


@dataclass(frozen=True)
class SliceRunner:
    """The dependencies of running a slice."""

    database: Database
    fetcher: DocumentFetcher
    writer: ObjectWriter
    spool: Spool
    recorder: FileRecorder
    renewer: LeaseRenewer
    hints: HintSender
    start_within_s: float = START_WITHIN_S

    def run(self, slice_: Slice, *, proposal_id: UUID | None, claimed_at: float) -> None:
        """Request, put and record the documents of a slice.

        `claimed_at`: when the claim was sent, in monotonic seconds. Raises ServiceUnavailable if
        the process stops while PostgreSQL is unavailable.
        """
        ids = self.fetcher.signals.log_context(slice_.job_id, slice_.traceparent)
        with structlog.contextvars.bound_contextvars(**ids):
            self._run(slice_, proposal_id, claimed_at)

    def _run(self, slice_: Slice, proposal_id: UUID | None, claimed_at: float) -> None:
        claim_answered_at = monotonic()
        self.hints.send(_begun_hint(slice_, proposal_id))
        with SliceLeases(self.renewer, slice_.documents) as leases:
            progress = _Progress(leases)
            with self.renewer.holding(slice_.token):
                self._request_all(slice_, progress, claimed_at, claim_answered_at)
            used_s = monotonic() - claim_answered_at
            with progress.lock:
                progress.is_requested = True
            self._return_rest(slice_, progress)
            self._free_slot(slice_, progress)
            if progress.has_fetched:
                freed = partial(self.hints.send, SlotFreed(slice_.token, used_s))
                # If the bucket is slow, the slice's slot is freed before its files are stored.
                freed_at = monotonic() + free_after_s(len(progress.fetched))
                with self.renewer.calling_after(freed_at, freed):
                    self._store(progress)
            if progress.storing is not None:
                progress.storing.join()
        self._return_late(slice_, progress)
        # The database's time: what it was at the claim, plus the seconds since.
        now = slice_.claim_time.timestamp() + monotonic() - claim_answered_at
        self.hints.send(_ended_hint(slice_, progress, used_s, now))

    def _request_all(
        self, slice_: Slice, progress: _Progress, claimed_at: float, claim_answered_at: float
    ) -> None:
        """Request the documents one after the other, until an answer is no good file."""
        if claim_answered_at - claimed_at > self.fetcher.lease_s / 2:
            # PostgreSQL answered late: the leases may have expired and belong to another worker.
            return
        begins_at = claim_answered_at + slice_.begins_in_s
        count = len(slice_.documents)
        # A document that waits only for its reserved time is not given back.
        returns_at = begins_at + (count - 1) * slice_.every_s + self.start_within_s
        go_on = partial(self._go_on_without, slice_, progress)
        with self.renewer.calling_after(returns_at, go_on):
            for number in range(count):
                moment = begins_at + number * slice_.every_s
                if not self.fetcher.gate.await_begin(
                    slice_.job_id, slice_.client, slice_.process_number, moment, claimed_at
                ):
                    return
                claim = progress.leases.next()
                if claim is None:
                    return
                answer = self.fetcher.fetch(claim)
                if isinstance(answer, Outcome):
                    progress.leases.release(claim.lease)
                    progress.failure = answer
                    return
                progress.has_fetched = True
                progress.fetched.append(answer)

    def _go_on_without(self, slice_: Slice, progress: _Progress) -> None:
        """Prevent that one long request delays the rest of the slice.

        Give back the documents whose requests have not begun, and put the fetched files in another
        thread.
        """
        self._return_rest(slice_, progress)
        with progress.lock:
            if progress.is_requested or not progress.fetched:
                return
            storing = threading.Thread(
                target=self._store_beside, args=(progress,), name="slice-store", daemon=True
            )
            # If no thread can be started, the slice stores the files after its last request.
            storing.start()
            progress.storing = storing

    def _store_beside(self, progress: _Progress) -> None:
        try:
            self._store(progress)
        except ServiceUnavailable as error:
            log.warning("files not recorded; they are found again", part=error.part)
        except Exception:
            log.exception("files not stored")

    def _return_rest(self, slice_: Slice, progress: _Progress) -> None:
        """Give back the documents whose requests have not begun.

        If PostgreSQL is unavailable, `_return_late` repeats it.
        """
        rest = [claim.lease for claim in progress.leases.take_rest()]
        if not rest:
            return
        try:
            progress.returned += return_unstarted(self.database, slice_.job_id, rest)
        except ServiceUnavailable as error:
            log.warning("documents not given back yet", job_id=str(slice_.job_id), part=error.part)
            progress.unreturned += rest

    def _return_late(self, slice_: Slice, progress: _Progress) -> None:
        """Give back the remaining documents once PostgreSQL is available again."""
        if rest := progress.unreturned:
            progress.returned += retry_until_available(
                lambda: return_unstarted(self.database, slice_.job_id, rest),
                is_stopping=lambda: self.renewer.is_stopping,
            )

    def _free_slot(self, slice_: Slice, progress: _Progress) -> None:
        """Let the next group commit free the slot, or a thread soon after; at once without a file.

        After a failure, the record of the failure has freed it already.
        """
        if progress.failure is not None:
            return
        if progress.has_fetched:
            within_s = free_after_s(len(progress.fetched))
            self.recorder.answered.add(slice_.token, within_s=within_s)
        else:
            release_slots(self.database, slice_.token)

    def _store(self, progress: _Progress) -> None:
        """Put and record the files that were fetched so far."""
        stored: list[WrittenObject] = []
        spooled: list[Fetched] = []
        # Files are removed one by one, so that the memory of each is free once it is recorded.
        while (file := _pop_first(progress.fetched)) is not None:
            put = self._put(file) if file.data is not None else None
            if put is not None:
                stored.append(put)
            elif (kept := self._keep(file)) is not None:
                spooled.append(kept)
        progress.spooled += (file.claim.document_id for file in spooled)
        if stored or spooled:
            self.recorder.record(Batch(stored, spooled))

    def _put(self, file: Fetched) -> WrittenObject | None:
        """Put a file from memory. Return None if the bucket does not accept it now."""
        health = self.writer.health
        if not health.is_ready or file.data is None:
            return None
        fresh = document_claims.unrecorded_file(file.claim, file.content)
        with self.writer.step(fresh) as span:
            try:
                return self.writer.put(fresh, file.data, limit_s=health.put_limit_s)
            except (TransientError, ServiceUnavailable) as error:
                # The outage is logged once elsewhere; this is one line for each file.
                log.info("put failed; file goes to spool", reason=error.reason)
                span.fail(error.reason)
                self.writer.signals.retried("upload", error.reason)
            except LeaseLost:
                span.fail("LEASE_LOST")
        return None

    def _keep(self, file: Fetched) -> Fetched | None:
        """Keep a file in the spool. Return None if that fails: the document is requested again."""
        if file.data is None:
            return file
        try:
            self.spool.keep(file.lease, file.data)
        except (ServiceUnavailable, PermanentError, OSError) as error:
            with structlog.contextvars.bound_contextvars(**file.log_context):
                log.warning("file not kept; it is requested again", error=str(error))
                # A document that was cancelled meanwhile no longer belongs to this slice.
                with suppress(LeaseLost):
                    self.fetcher.give_back(file.claim, NO_ROOM_DELAY_S)
            return None
        return replace(file, data=None)


def _begun_hint(slice_: Slice, proposal_id: UUID | None) -> SliceBegun:
    return SliceBegun(
        proposal_id,
        slice_.job_id,
        slice_.token,
        tuple(claim.document_id for claim in slice_.documents),
        has_more=slice_.has_more,
        next_not_before=seconds_of(slice_.next_not_before),
        next_request_at=seconds_of(slice_.next_request_time),
    )


def _pop_first(files: deque[Fetched]) -> Fetched | None:
    """Take the first file. Another thread may take files, too."""
    try:
        return files.popleft()
    except IndexError:
        return None


def _ended_hint(slice_: Slice, progress: _Progress, used_s: float, now: float) -> Ended:
    delay_s = progress.failure.delay_s if progress.failure else None
    return Ended(
        slice_.job_id,
        slice_.token,
        used_s=used_s,
        spooled=tuple(progress.spooled),
        returned=tuple(progress.returned),
        next_not_before=None if delay_s is None else now + delay_s,
    )
