"""A total time limit for a blocking HTTP exchange, which another thread can also end.

requests' `timeout` limits each socket read separately. So a server that sends a byte now and then
holds a thread for ever, in the headers as in the body. A `Deadline` keeps the sockets of its
exchange. It shuts them down when the time is over or `cut` is called. The blocked read then returns
at once.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

from storage.errors import AutosError, TransientError
from storage.http.connections import (
    InspectedHTTPConnection,
    InspectedHTTPPool,
    InspectedHTTPSConnection,
    InspectedHTTPSPool,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TICK_S = 0.1

_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class _HasSocket(Protocol):
    sock: Any


class Deadline:
    """The time limit of one exchange: `limit_s` seconds from now."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s
        self._lock = threading.Lock()
        self._connections: list[_HasSocket] = []
        self._sockets: list[socket.socket] = []
        self._cause: AutosError | None = None

    @property
    def remaining_s(self) -> float:
        """Return the remaining seconds, never negative."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise the error that ended the exchange, if there is one.

        Call this between two chunks and after a failed read: only the deadline has the reason.
        """
        if self._cause is None and self.remaining_s == 0:
            self._cause = _timed_out()
        if self._cause is not None:
            raise self._cause

    def cut(self, cause: AutosError) -> None:
        """End the exchange now. `check` raises `cause` in the thread that runs the exchange."""
        with self._lock:
            self._cause = self._cause or cause
            # Read once: the thread that uses a connection may remove its socket at any time.
            sockets = [*self._sockets, *(connection.sock for connection in self._connections)]
        for sock in sockets:
            # Below any TLS layer: its own shutdown is not safe from a second thread.
            with contextlib.suppress(OSError):
                if sock is not None:
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def watch(self, connection: _HasSocket) -> None:
        """Add the connection of a request that begins under this deadline."""
        with self._lock:
            self._connections.append(connection)
            if connection.sock:
                # A connection drops its socket before the body is read, so the deadline keeps it.
                self._sockets.append(connection.sock)
        self.check()


class Watchdog:
    """End the exchanges that exceed their time. One thread serves all exchanges of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Deadline] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(self, limit_s: float) -> Iterator[Deadline]:
        """Open a deadline for this thread's requests inside the block, over WATCHED_POOLS."""
        deadline = Deadline(limit_s)
        token = _current.set(deadline)
        self._add(deadline)
        try:
            yield deadline
        finally:
            _current.reset(token)
            with self._lock:
                self._running.discard(deadline)

    def _add(self, deadline: Deadline) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                # The machine may refuse it: then there is none, and this exchange does not begin.
                thread.start()
                self._thread = thread
            self._running.add(deadline)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(TICK_S)
            with self._lock:
                over = [d for d in self._running if d.remaining_s == 0]
                self._running.difference_update(over)
                if not self._running:
                    self._wake.clear()
            for deadline in over:
                try:
                    deadline.cut(_timed_out())
                except Exception:
                    # Without this thread no exchange would have a limit.
                    log.exception("exchange not ended")


def _timed_out() -> TransientError:
    return TransientError("DEADLINE_EXCEEDED", "The transfer took longer than allowed.")


class WatchedHTTPConnection(InspectedHTTPConnection):
    """Register the connection's socket with the calling thread's deadline."""

    # The deadline ends an exchange that takes too long.
    interim_max_s = math.inf

    def connect(self) -> None:
        _register_connection(
            self
        )  # a handshake can be slow, too; its socket is found on the connection
        super().connect()
        _register_connection(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _register_connection(self)
        super().request(*args, **kwargs)


class WatchedHTTPSConnection(WatchedHTTPConnection, InspectedHTTPSConnection):
    """A watched connection over TLS."""


class WatchedHTTPPool(InspectedHTTPPool):
    """A pool of WatchedHTTPConnection."""

    ConnectionCls = WatchedHTTPConnection


class WatchedHTTPSPool(InspectedHTTPSPool):
    """A pool of WatchedHTTPSConnection."""

    ConnectionCls = WatchedHTTPSConnection


# For PoolManager.pool_classes_by_scheme.
WATCHED_POOLS = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}


def _register_connection(connection: _HasSocket) -> None:
    deadline = _current.get()
    if deadline is not None:
        deadline.watch(connection)
