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
# with a record: at least, and for each file that it puts meanwhile. Slices of several files are
# those of a fast court, of which no request waits for a slot.
FREE_AFTER_S = 0.02
FREE_AFTER_FILE_S = 0.01

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def free_after_s(files: int) -> float:
    """Return the seconds for which a slice that puts `files` files waits for a round."""
    return max(FREE_AFTER_S, files * FREE_AFTER_FILE_S)


class AnsweredSlices:
    """Slices with a last answer and without a freed slot. Thread-safe.

    `free` frees slots. If it raises an error, it is called again after `pause_s` seconds.
    """

    def __init__(self, free: Callable[[Sequence[UUID]], None], *, pause_s: float = PAUSE_S) -> None:
        self._free = free
        self._pause_s = pause_s
        lock = threading.Lock()
        self._lock = threading.Condition(lock)
        self._freed = threading.Condition(lock)
        # When the thread frees the slots of a slice, in monotonic seconds.
        self._due: dict[UUID, float] = {}
        # When the thread looks next; None while it waits for a slice.
        self._looks_at: float | None = None
        self._is_freeing = False
        self._thread: threading.Thread | None = None

    def add(self, *tokens: UUID, within_s: float = FREE_AFTER_S) -> None:
        """Let the next round free the slots of slices, or a thread after `within_s` seconds."""
        if not tokens:
            return
        due = monotonic() + within_s
        with self._lock:
            self._due |= dict.fromkeys(tokens, due)
            if self._thread is None:
                self._start_thread()
            if self._looks_at is None or due < self._looks_at:
                self._lock.notify_all()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="free-slots", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The next round frees the slots, and the next slice tries again.
            log.warning("slots not freed yet", slots=len(self._due), error=str(error))
        else:
            self._thread = thread

    def take_all(self) -> list[UUID]:
        """Take the tokens of the slots that the caller's round frees."""
        with self._lock:
            tokens = list(self._due)
            self._due.clear()
            # The thread is not woken: it looks at its time, or with the next slice.
            self._freed.notify_all()
        return tokens

    def await_freed(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds until all slots are free. Return whether they are."""
        with self._lock:
            return self._freed.wait_for(lambda: not self._due and not self._is_freeing, timeout_s)

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
                self._freed.notify_all()

    def _take_old(self) -> list[UUID]:
        """Wait until a slice has waited long enough, and take all."""
        with self._lock:
            while not self._due or min(self._due.values()) > monotonic():
                self._looks_at = min(self._due.values(), default=None)
                if self._looks_at is None:
                    self._lock.wait()
                else:
                    self._lock.wait(max(0.0, self._looks_at - monotonic()))
            tokens = list(self._due)
            self._due.clear()
            self._is_freeing = True
        return tokens
