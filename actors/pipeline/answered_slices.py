"""Free the slots of slices after their last answer, whether or not their files are stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from uuid import UUID

import structlog

from actors.resilience.retry import PAUSE_S
from storage.errors import ServiceUnavailable

# Seconds after its last answer for which a slice waits for a round that frees its slot together
# with a record.
FREE_AFTER_S = 0.02

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class AnsweredSlices:
    """Slices with a last answer and without a freed slot. Thread-safe.

    `free` frees slots. If it raises an error, it is called again after `pause_s` seconds.
    """

    def __init__(self, free: Callable[[Sequence[UUID]], None], *, pause_s: float = PAUSE_S) -> None:
        self._free = free
        self._pause_s = pause_s
        self._lock = threading.Condition()
        self._since: dict[UUID, float] = {}
        self._is_freeing = False
        self._thread: threading.Thread | None = None

    def add(self, *tokens: UUID) -> None:
        """Let the next round free the slots of slices, or a thread soon."""
        if not tokens:
            return
        with self._lock:
            self._since |= dict.fromkeys(tokens, monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="free-slots", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def take_all(self) -> list[UUID]:
        """Take the tokens of the slots that the caller's round frees."""
        with self._lock:
            tokens = list(self._since)
            self._since.clear()
            self._lock.notify_all()
        return tokens

    def await_freed(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds until all slots are free. Return whether they are."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._since and not self._is_freeing, timeout_s)

    def _run(self) -> None:
        while True:
            tokens = self._take_old()
            try:
                self._free(tokens)
            except Exception as error:
                # Their leases expire by themselves, but that takes a minute.
                if isinstance(error, ServiceUnavailable):
                    log.warning("slots not freed yet", slots=len(tokens), part=error.part)
                else:
                    log.exception("slots not freed yet", slots=len(tokens))
                sleep(self._pause_s)
                self.add(*tokens)
            with self._lock:
                self._is_freeing = False
                self._lock.notify_all()

    def _take_old(self) -> list[UUID]:
        """Wait until a slice has waited long enough, and take all."""
        with self._lock:
            while True:
                if not self._since:
                    self._lock.wait()
                    continue
                wait_s = min(self._since.values()) + FREE_AFTER_S - monotonic()
                if wait_s <= 0:
                    break
                self._lock.wait(wait_s)
            tokens = list(self._since)
            self._since.clear()
            self._is_freeing = True
        return tokens
