"""A reading of another server that concurrent scrapes share, and for which none waits long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from storage.errors import ServiceUnavailable

T = TypeVar("T")

# One reading serves every scrape within this time.
LOOK_S = 2.0
# A scrape does not wait longer for another server.
PATIENCE_S = 1.5


class SharedReading(Generic[T]):
    """The newest result of `read`, which may raise ServiceUnavailable. Thread-safe.

    `clock`: monotonic seconds.
    """

    def __init__(self, read: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._lock = threading.Lock()
        self._look: Future[T] | None = None
        self._began = float("-inf")

    def newest(self) -> T | None:
        """Return a result that is at most LOOK_S old; None if the server did not answer in time."""
        try:
            return self._newest().result(PATIENCE_S)
        except (ServiceUnavailable, TimeoutError):
            return None

    def begin(self) -> None:
        """Begin a reading if one is due, without waiting for it."""
        self._newest()

    def close(self) -> None:
        """Wait for the reading that is under way."""
        self._pool.shutdown()

    def _newest(self) -> Future[T]:
        with self._lock:
            is_old = self._clock() - self._began >= LOOK_S
            # While the server does not answer, readings must not accumulate.
            if self._look is None or (is_old and self._look.done()):
                self._look = self._pool.submit(self._read)
                self._began = self._clock()
            return self._look
