"""Work without messages: threads that poll the rows while no scheduler proposes.

One thread of a process polls, once a second with jitter. After polls without work, it polls every
five seconds. A poll that finds work lets one more thread poll at once. So full speed is reached
within seconds, and useless polls stay rare.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import structlog

from storage.errors import ServiceUnavailable

INTERVAL_S = 1.0
IDLE_INTERVAL_S = 5.0
JITTER = 0.2
# The number of polls without work after which polls become rare.
IDLE_POLLS = 3

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class FallbackPolling:
    """Run `poll` from up to `threads` threads of its own.

    `poll` finds work and does it. It returns whether it found any, and calls its argument before it
    begins, so that one more thread polls at once. `interval_s` and `idle_interval_s`: seconds
    between polls, at first and after polls without work.
    """

    def __init__(
        self,
        poll: Callable[[Callable[[], None]], bool],
        *,
        threads: int,
        name: str,
        interval_s: float = INTERVAL_S,
        idle_interval_s: float = IDLE_INTERVAL_S,
    ) -> None:
        self._poll = poll
        self._threads = threads
        self._name = name
        self._interval_s = interval_s
        self._idle_interval_s = idle_interval_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._running = 0
        self._first: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that polls repeatedly."""
        self._first = threading.Thread(target=self._run_first, name=self._name, daemon=True)
        self._first.start()

    def stop(self) -> None:
        """Stop polling. Work that a poll has found is still finished."""
        self._stopping.set()

    def _run_first(self) -> None:
        idle_polls = 0
        while not self._stopping.wait(self._pause_s(idle_polls)):
            idle_polls = 0 if self._poll_until_idle() else idle_polls + 1

    def _pause_s(self, idle_polls: int) -> float:
        pause_s = self._interval_s if idle_polls < IDLE_POLLS else self._idle_interval_s
        return pause_s * random.uniform(1 - JITTER, 1 + JITTER)

    def _poll_until_idle(self) -> bool:
        """Poll and work until a poll finds nothing. Return whether any poll found work."""
        has_found = False
        while not self._stopping.is_set() and self._safely_poll():
            has_found = True
        return has_found

    def _safely_poll(self) -> bool:
        try:
            return self._poll(self._found)
        except ServiceUnavailable:
            return False
        except Exception:
            log.exception("poll failed")
            return False

    def _found(self) -> None:
        """Let one more thread poll at once."""
        with self._lock:
            if self._running + 1 >= self._threads or self._stopping.is_set():
                return
            self._running += 1
        try:
            threading.Thread(target=self._run_more, name=self._name, daemon=True).start()
        except RuntimeError as error:
            # The machine has no room for it. The caller has found work, and must do it.
            log.warning("no further thread polls", error=str(error))
            with self._lock:
                self._running -= 1

    def _run_more(self) -> None:
        try:
            self._poll_until_idle()
        finally:
            with self._lock:
                self._running -= 1
