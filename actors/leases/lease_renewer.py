"""Renews the leases of a process, all in one statement, and stops work whose lease is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from storage.errors import ServiceUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Renew leases; return those that are still held. Raises ServiceUnavailable.
Renew = Callable[[set[UUID]], set[UUID]]
# How soon a cancelled job stops a download that is under way, in seconds.
MAX_INTERVAL_S = 1.0
# How late a call of `calling_after` may be, in seconds.
TIMER_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Holder:
    """A block that holds a lease. `log_context`: what its log lines name."""

    on_lost: Callable[[], None]
    log_context: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Timer:
    at: float
    call: Callable[[], None]


class LeaseRenewer:
    """Renews leases while blocks hold them. Thread-safe; open it after the fork."""

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

        Blocks of one lease may be nested. Once the last is left no renewal is under way that could
        prolong what was given up since.
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
        """Call `call`, from another thread, if the block is not left at `at`, monotonic seconds."""
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
        """Call `on_lost` of everything that is held, or will be: the process ends."""
        self._is_stopping.set()
        with self._lock:
            holders = [holder for each in self._holders.values() for holder in each]
        for holder in holders:
            _call(holder.on_lost)

    def _add(self, lease: UUID, on_lost: Callable[[], None]) -> _Holder:
        holder = _Holder(on_lost, structlog.contextvars.get_contextvars())
        with self._lock:
            if not self._holders:
                self._renewed_at = time.monotonic()
            self._holders.setdefault(lease, []).append(holder)
            self._start_threads()
        self._has_leases.set()
        if self.is_stopping:
            _call(on_lost)
        return holder

    def _start_threads(self) -> None:
        if self._threads:
            return
        for name, run in (
            ("lease-renewer", self._run_renewals),
            ("lease-guard", self._run_guard),
            ("slice-timer", self._run_timers),
        ):
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run_renewals(self) -> None:
        while True:
            self._has_leases.wait()
            time.sleep(self._interval_s)
            self._drop(self._lost())

    def _run_guard(self) -> None:
        """Stop everything when the leases are over, even while a renewal hangs.

        Another process may hold them by then, and request the same files.
        """
        while True:
            self._has_leases.wait()
            time.sleep(self._interval_s / 4)
            with self._lock:
                # A little early, since this looks only so often.
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
            return leases  # for now: the guard sees when they are over
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
        # Others must still be called, and leases renewed.
        log.exception("work not stopped")
