"""Keeps the leases of a process alive, all in one statement, and stops work that lost its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from storage.errors import ServiceUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Renew = Callable[[set[UUID]], set[UUID]]
# How soon a cancelled job stops a download that is under way.
MAX_INTERVAL_S = 1.0


class _Held(NamedTuple):
    on_lost: Callable[[], None]
    # What log lines of the holder name: its job, say.
    named: dict[str, Any]


class Keeper:
    """Renews leases while work goes on. `renew` gives back those that are still held."""

    def __init__(self, renew: Renew, *, lease_s: float) -> None:
        self._renew = renew
        self._lease_s = lease_s
        self._interval_s = min(MAX_INTERVAL_S, lease_s / 5)
        self._held: dict[UUID, _Held] = {}
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._is_stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._renewed = time.monotonic()

    @contextmanager
    def holding(self, lease: UUID, on_lost: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keeps `lease` inside the block; calls `on_lost`, from another thread, if it goes.

        Without that, what the block says to the row finds out.
        Once the block is left no renewal is under way that could prolong what was given up since.
        """
        self._take(lease, on_lost)
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(lease, None)
            with self._renewing:
                pass

    def _take(self, lease: UUID, on_lost: Callable[[], None]) -> None:
        with self._lock:
            if not self._held:
                self._renewed = time.monotonic()
            self._held[lease] = _Held(on_lost, structlog.contextvars.get_contextvars())
            is_stopping = self._is_stopping
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
                self._thread.start()
                threading.Thread(target=self._guard, name="lease-guard", daemon=True).start()
        self._wake.set()
        if is_stopping:
            _tell(on_lost)

    @property
    def is_stopping(self) -> bool:
        """Whether the process ends."""
        return self._is_stopping

    def stop_all(self) -> None:
        """Tells everything that is held, or will be, to stop: the process ends."""
        with self._lock:
            self._is_stopping = True
            held = list(self._held.values())
        for each in held:
            _tell(each.on_lost)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(self._interval_s)
            self._drop(self._lost())

    def _guard(self) -> None:
        """Stops everything when the leases are over, even while a renewal hangs.

        Somebody else may hold them by then, and ask the portal for the same files.
        """
        while True:
            self._wake.wait()
            time.sleep(self._interval_s / 4)
            with self._lock:
                # A little early, since this looks only so often.
                is_over = time.monotonic() - self._renewed > self._lease_s - self._interval_s / 2
                lost = set(self._held) if is_over else set()
            self._drop(lost)

    def _lost(self) -> set[UUID]:
        with self._renewing:
            with self._lock:
                leases = set(self._held)
                if not leases:
                    self._wake.clear()
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
            self._renewed = max(self._renewed, begun)
        return kept

    def _drop(self, lost: set[UUID]) -> None:
        for lease in lost:
            with self._lock:
                held = self._held.pop(lease, None)
            if held:
                log.warning("lease lost", **{**held.named, "lease": str(lease)})
                _tell(held.on_lost)


def _tell(on_lost: Callable[[], None]) -> None:
    try:
        on_lost()
    except Exception:
        # Others must still be told, and leases kept.
        log.exception("work not stopped")
