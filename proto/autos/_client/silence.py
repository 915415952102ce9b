"""The idle timeout of a stream: it ends a stream that delivers nothing, not even heartbeats."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

LOOKS = 4


class _Watchdog:
    def __init__(self, cancel: Callable[[], object], limit_s: float) -> None:
        self._cancel = cancel
        self._limit_s = limit_s
        # None while the caller processes a message: that time does not count as idle.
        self._waits_since: float | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="autos-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def over(self, messages: Iterable[T]) -> Iterator[T]:
        iterator = iter(messages)
        while True:
            self._waits_since = time.monotonic()
            try:
                message = next(iterator)
            except StopIteration:
                return
            self._waits_since = None
            yield message

    def _look(self) -> None:
        while not self._is_over.wait(self._limit_s / LOOKS):
            since = self._waits_since
            if since is not None and time.monotonic() - since > self._limit_s:
                self._cancel()
                return


@contextmanager
def heard_within(
    messages: Iterable[T], cancel: Callable[[], object], limit_s: float
) -> Iterator[Iterator[T]]:
    """Yield the messages. Call `cancel` if the wait for one exceeds `limit_s` seconds."""
    watchdog = _Watchdog(cancel, limit_s)
    watchdog.start()
    try:
        yield watchdog.over(messages)
    finally:
        watchdog.stop()
        cancel()
