"""Renew the leases of a process, all in one statement, and stop work after a lease is lost.

The leases of a slice are held until each of its documents is recorded or given back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any
from uuid import UUID

import structlog

from storage.errors import ServiceUnavailable
from storage.portal.document_claims import DocumentClaim

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Renew leases; return those that are still held. Raises ServiceUnavailable.
Renew = Callable[[set[UUID]], set[UUID]]
# Seconds within which a cancelled job stops a current download.
MAX_INTERVAL_S = 1.0
# The largest delay of a call of `calling_after`, in seconds.
TIMER_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Holder:
    """A block that holds a lease. `log_context`: the fields of its log lines."""

    on_lost: Callable[[], None]
    log_context: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Timer:
    at: float
    call: Callable[[], None]


class LeaseRenewer:
    """Renew leases while blocks hold them. Thread-safe. Open it after the fork."""

    def __init__(self, renew: Renew, *, lease_s: float) -> None:
        self._renew = renew
        self._lease_s = lease_s
        self._interval_s = min(MAX_INTERVAL_S, lease_s / 5)
        self._holders: dict[UUID, list[_Holder]] = {}
        self._timers: list[_Timer] = []
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._is_stopping = threading.Event()
        self._has_leases = threading.Event()
        self._has_timers = threading.Event()
        self._threads: list[threading.Thread] = []
        self._renewed_at = time.monotonic()

    @contextmanager
    def holding(self, lease: UUID, on_lost: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Renew `lease` inside the block; call `on_lost`, from another thread, if it is lost.

        Blocks of one lease may be nested. After the last block, no renewal is under way that could
        prolong a lease that was given up since.
        """
        holder = self._add(lease, on_lost)
        try:
            yield
        finally:
            with self._lock:
                holders = self._holders.get(lease, [])
                if holder in holders:
                    holders.remove(holder)
                if not holders:
                    self._holders.pop(lease, None)
            with self._renewing:
                pass

    @contextmanager
    def calling_after(self, at: float, call: Callable[[], None]) -> Iterator[None]:
        """Call `call`, from another thread, if the block has not ended at `at` (monotonic)."""
        timer = _Timer(at, call)
        with self._lock:
            self._start_threads()
            self._timers.append(timer)
        self._has_timers.set()
        try:
            yield
        finally:
            with self._lock:
                if timer in self._timers:
                    self._timers.remove(timer)

    @property
    def is_stopping(self) -> bool:
        """Return whether the process ends."""
        return self._is_stopping.is_set()

    def await_stop(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds for the end of the process. Return whether it ends."""
        return self._is_stopping.wait(timeout_s)

    def stop_all(self) -> None:
        """Call `on_lost` of every current and future holder: the process ends."""
        self._is_stopping.set()
        with self._lock:
            holders = [holder for each in self._holders.values() for holder in each]
        for holder in holders:
            _call(holder.on_lost)

    def _add(self, lease: UUID, on_lost: Callable[[], None]) -> _Holder:
        holder = _Holder(on_lost, structlog.contextvars.get_contextvars())
        with self._lock:
            # First: a lease that is never renewed and never guarded must not be held.
            self._start_threads()
            if not self._holders:
                self._renewed_at = time.monotonic()
            self._holders.setdefault(lease, []).append(holder)
        self._has_leases.set()
        if self.is_stopping:
            _call(on_lost)
        return holder

    def _start_threads(self) -> None:
        wanted = (
            ("lease-renewer", self._run_renewals),
            ("lease-guard", self._run_guard),
            ("slice-timer", self._run_timers),
        )
        # Those that the machine refused before are started now.
        for name, run in wanted[len(self._threads) :]:
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run_renewals(self) -> None:
        while True:
            self._has_leases.wait()
            time.sleep(self._interval_s)
            self._drop(self._lost())

    def _run_guard(self) -> None:
        """Stop all work when the leases have expired, even while a renewal hangs.

        Another process may hold them by then, and request the same files.
        """
        while True:
            self._has_leases.wait()
            time.sleep(self._interval_s / 4)
            with self._lock:
                # A little early, because of the interval between two checks.
                age_s = time.monotonic() - self._renewed_at
                is_over = age_s > self._lease_s - self._interval_s / 2
                lost = set(self._holders) if is_over else set()
            self._drop(lost)

    def _run_timers(self) -> None:
        while True:
            self._has_timers.wait()
            time.sleep(TIMER_INTERVAL_S)
            now = time.monotonic()
            with self._lock:
                due = [timer for timer in self._timers if timer.at <= now]
                self._timers = [timer for timer in self._timers if timer.at > now]
                if not self._timers:
                    self._has_timers.clear()
            for timer in due:
                _call(timer.call)

    def _lost(self) -> set[UUID]:
        with self._renewing:
            with self._lock:
                leases = set(self._holders)
                if not leases:
                    self._has_leases.clear()
                    return set()
            return leases - self._kept(leases)

    def _kept(self, leases: set[UUID]) -> set[UUID]:
        begun = time.monotonic()
        try:
            kept = self._renew(leases)
        except ServiceUnavailable:
            return leases  # unknown for now: the guard detects their end
        except Exception:
            log.exception("leases not renewed")
            return leases
        with self._lock:
            self._renewed_at = max(self._renewed_at, begun)
        return kept

    def _drop(self, lost: set[UUID]) -> None:
        for lease in lost:
            with self._lock:
                holders = self._holders.pop(lease, [])
            for holder in holders:
                log.warning("lease lost", **{**holder.log_context, "lease": str(lease)})
                _call(holder.on_lost)


def _call(on_lost: Callable[[], None]) -> None:
    try:
        on_lost()
    except Exception:
        # Other holders must still be called, and leases renewed.
        log.exception("work not stopped")


class SliceLeases:
    """Hold the leases of a slice inside its `with` block. Thread-safe.

    A document that lost its lease is not requested any more. If the process stops, a document stays
    here, so that it is given back.
    """

    def __init__(self, renewer: LeaseRenewer, documents: Sequence[DocumentClaim]) -> None:
        self._renewer = renewer
        self._rest = deque(documents)
        self._held: dict[UUID, ExitStack] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> SliceLeases:
        """Hold the leases of all documents."""
        for claim in [*self._rest]:
            stack = ExitStack()
            self._held[claim.lease] = stack
            stack.enter_context(self._renewer.holding(claim.lease, partial(self._drop, claim)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release all leases."""
        for lease in [*self._held]:
            self.release(lease)

    def next(self) -> DocumentClaim | None:
        """Take the next document; its request begins now. None: no document is left."""
        with self._lock:
            return self._rest.popleft() if self._rest else None

    def take_rest(self) -> list[DocumentClaim]:
        """Take the documents before their requests begin, and release their leases."""
        with self._lock:
            rest = list(self._rest)
            self._rest.clear()
        for claim in rest:
            self.release(claim.lease)
        return rest

    def release(self, lease: UUID) -> None:
        """Release a lease: its document is recorded."""
        with self._lock:
            stack = self._held.pop(lease, None)
        if stack is not None:
            stack.close()

    def _drop(self, claim: DocumentClaim) -> None:
        """Drop a document that lost its lease."""
        with self._lock:
            if claim in self._rest and not self._renewer.is_stopping:
                self._rest.remove(claim)
