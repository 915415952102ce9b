"""Work without messages: threads that check the rows while no scheduler proposes.

One thread of a process checks, once a second with jitter. After checks without work, it checks
every five seconds. A check that finds work lets one more thread check at once. So full speed is
reached within seconds, and useless checks stay rare.
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
# The number of checks without work after which checks become rare.
VAIN_LOOKS = 3

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class FallbackLooks:
    """Run `look` from up to `threads` threads of its own.

    `look` finds work and does it. It returns whether it found any, and calls its argument before it
    begins, so that one more thread checks at once. `interval_s` and `idle_interval_s`: seconds
    between checks, at first and after checks without work.
    """

    def __init__(
        self,
        look: Callable[[Callable[[], None]], bool],
        *,
        threads: int,
        name: str,
        interval_s: float = INTERVAL_S,
        idle_interval_s: float = IDLE_INTERVAL_S,
    ) -> None:
        self._look = look
        self._threads = threads
        self._name = name
        self._interval_s = interval_s
        self._idle_interval_s = idle_interval_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._running = 0
        self._first: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that checks repeatedly."""
        self._first = threading.Thread(target=self._run_first, name=self._name, daemon=True)
        self._first.start()

    def stop(self) -> None:
        """Stop checking. Work that a check has found is still finished."""
        self._stopping.set()

    def _run_first(self) -> None:
        vain = 0
        while not self._stopping.wait(self._pause_s(vain)):
            vain = 0 if self._look_until_vain() else vain + 1

    def _pause_s(self, vain: int) -> float:
        pause_s = self._interval_s if vain < VAIN_LOOKS else self._idle_interval_s
        return pause_s * random.uniform(1 - JITTER, 1 + JITTER)

    def _look_until_vain(self) -> bool:
        """Check and work until a check finds nothing. Return whether any check found work."""
        has_found = False
        while not self._stopping.is_set() and self._safely_look():
            has_found = True
        return has_found

    def _safely_look(self) -> bool:
        try:
            return self._look(self._found)
        except ServiceUnavailable:
            return False
        except Exception:
            log.exception("look failed")
            return False

    def _found(self) -> None:
        """Let one more thread check at once."""
        with self._lock:
            if self._running + 1 >= self._threads or self._stopping.is_set():
                return
            self._running += 1
        threading.Thread(target=self._run_more, name=self._name, daemon=True).start()

    def _run_more(self) -> None:
        try:
            self._look_until_vain()
        finally:
            with self._lock:
                self._running -= 1
