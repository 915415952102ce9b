"""download: the requests of a slice one after the other, then its puts, then one record.

The slot of a slice is free as soon as its last answer has come, whether its files are stored or
not, so a slow bucket costs no time at the portal.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from uuid import UUID

import structlog

from actors.pipeline.fetch import DocumentFetcher, Fetched
from actors.pipeline.lease_renewer import LeaseRenewer
from actors.pipeline.recorder import Batch, Recorder
from actors.pipeline.request_gate import RequestGate
from actors.pipeline.store import PUT_LIMIT_S, ObjectWriter, StoredObject
from actors.scheduler.hint_channel import HintSender
from actors.scheduler.hints import Begun, Ended
from storage import claims
from storage.claims import Claim
from storage.database import Database
from storage.errors import LeaseLost, ServiceUnavailable, TransientError
from storage.outcomes import Outcome
from storage.portal.claims import Slice, release_slots, return_unstarted
from storage.spool import Spool

# What has not begun this long after the claim is given back, in seconds.
START_WITHIN_S = 0.25

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass
class _Rest:
    """The documents of a slice whose requests have not begun. Thread-safe."""

    documents: deque[Claim]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> Claim | None:
        """Take the next document, whose request begins now."""
        with self.lock:
            return self.documents.popleft() if self.documents else None

    def drop(self, claim: Claim) -> None:
        """Drop a document whose lease is lost."""
        with self.lock:
            if claim in self.documents:
                self.documents.remove(claim)

    def take_all(self) -> list[Claim]:
        """Take what is left."""
        with self.lock:
            taken = list(self.documents)
            self.documents.clear()
        return taken


@dataclass
class _Progress:
    """What came of a slice so far.

    `failure`: what the first answer that was no good file led to. `returned`: documents that were
    given back unrequested.
    """

    rest: _Rest
    fetched: list[Fetched] = field(default_factory=list)
    failure: Outcome | None = None
    returned: list[UUID] = field(default_factory=list)


@dataclass(frozen=True)
class SliceRunner:
    """What running a slice needs."""

    database: Database
    fetcher: DocumentFetcher
    writer: ObjectWriter
    spool: Spool
    recorder: Recorder
    renewer: LeaseRenewer
    gate: RequestGate
    hints: HintSender

    def run(self, slice_: Slice, *, proposal_id: UUID | None, claimed_at: float) -> None:
        """Request, put and record the documents of a slice.

        `claimed_at`: when the claim was sent, in monotonic seconds. Raises ServiceUnavailable when
        the process stops while PostgreSQL is unavailable.
        """
        answered_at = monotonic()
        self.hints.send(_begun(slice_, proposal_id))
        progress = _Progress(_Rest(deque(slice_.documents)))
        spooled: tuple[UUID, ...] = ()
        with ExitStack() as leases:
            for claim in slice_.documents:
                lose = partial(progress.rest.drop, claim)
                leases.enter_context(self.renewer.holding(claim.lease, lose))
            with self.renewer.holding(slice_.token):
                self._request_all(slice_, progress, claimed_at, answered_at)
            used_s = monotonic() - answered_at
            self._return_rest(slice_, progress)
            self._free_slot(slice_, progress)
            if progress.fetched:
                spooled = self._store(progress.fetched)
        now = slice_.claim_time.timestamp() + monotonic() - answered_at
        self.hints.send(_ended(slice_, progress, spooled, used_s, now))

    def _request_all(
        self, slice_: Slice, progress: _Progress, claimed_at: float, answered_at: float
    ) -> None:
        """Request the documents one after the other, until one is not a good file."""
        if answered_at - claimed_at > self.fetcher.lease_s / 2:
            # PostgreSQL answered late: the leases may be over, and another worker's.
            return
        give_back = partial(self._return_rest, slice_, progress)
        with self.renewer.calling_after(answered_at + START_WITHIN_S, give_back):
            for number in range(len(slice_.documents)):
                begins_at = answered_at + slice_.begins_in_s + number * slice_.every_s
                if not self.gate.await_begin(slice_.process_number, begins_at):
                    return
                claim = progress.rest.next()
                if claim is None:
                    return
                answer = self.fetcher.fetch(claim)
                if isinstance(answer, Outcome):
                    progress.failure = answer
                    return
                progress.fetched.append(answer)

    def _return_rest(self, slice_: Slice, progress: _Progress) -> None:
        """Give back the documents whose requests have not begun."""
        rest = progress.rest.take_all()
        if rest:
            leases = [claim.lease for claim in rest]
            progress.returned += return_unstarted(self.database, slice_.job_id, leases)

    def _free_slot(self, slice_: Slice, progress: _Progress) -> None:
        """Have the slot be freed, unless the record of a failure freed it."""
        if progress.failure is not None:
            return
        if progress.fetched:
            self.recorder.answered.add(slice_.token)
        else:
            release_slots(self.database, slice_.token)

    def _store(self, fetched: list[Fetched]) -> tuple[UUID, ...]:
        """Put and record files. Return the documents that lie in the spool now."""
        stored: list[StoredObject] = []
        spooled: list[Fetched] = []
        while fetched:
            # Taken off the list, so that its bytes go when they are recorded.
            file = fetched.pop(0)
            put = self._put(file) if file.data is not None else None
            if put is not None:
                stored.append(put)
            elif (kept := self._keep(file)) is not None:
                spooled.append(kept)
        self.recorder.record(Batch(stored, spooled))
        return tuple(file.claim.document_id for file in spooled)

    def _put(self, file: Fetched) -> StoredObject | None:
        """Put a file from memory. Return None if the bucket does not take it now."""
        if not self.writer.health.is_ready or file.data is None:
            return None
        fresh = claims.fresh(file.claim, file.content)
        with self.writer.step(fresh) as span:
            try:
                return self.writer.put(fresh, file.data, limit_s=PUT_LIMIT_S)
            except (TransientError, ServiceUnavailable) as error:
                log.warning("not put from memory", reason=error.reason)
                span.fail(error.reason)
                self.writer.signals.retried("upload", error.reason)
            except LeaseLost:
                span.fail("LEASE_LOST")
        return None

    def _keep(self, file: Fetched) -> Fetched | None:
        """Keep a file in the spool. Return None if there is no room: it is requested again."""
        if file.data is None:
            return file
        try:
            self.spool.keep(file.lease, file.data)
        except ServiceUnavailable as error:
            with structlog.contextvars.bound_contextvars(**file.log_context):
                log.warning("file given up", part=error.part)
                self.fetcher.give_back(file.claim, error)
            return None
        return replace(file, data=None)


def _begun(slice_: Slice, proposal_id: UUID | None) -> Begun:
    return Begun(
        proposal_id,
        slice_.job_id,
        slice_.token,
        tuple(claim.document_id for claim in slice_.documents),
        has_more=slice_.has_more,
        next_not_before=slice_.next_not_before.timestamp() if slice_.next_not_before else None,
    )


def _ended(
    slice_: Slice, progress: _Progress, spooled: tuple[UUID, ...], used_s: float, now: float
) -> Ended:
    delay_s = progress.failure.delay_s if progress.failure else None
    return Ended(
        slice_.job_id,
        slice_.token,
        used_s=used_s,
        spooled=spooled,
        returned=tuple(progress.returned),
        next_not_before=None if delay_s is None else now + delay_s,
    )
