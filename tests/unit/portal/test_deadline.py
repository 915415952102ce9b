"""Test that a deadline ends an exchange, whatever happens to its connection meanwhile."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from typing import Any

import pytest

from actors.resilience.exchange_deadline import Deadline, Watchdog
from storage.errors import LeaseLost, TransientError


class _Letting:
    """A connection that loses its socket in the moment in which the deadline reads it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock: socket.socket | None = sock

    @property
    def sock(self) -> socket.socket | None:
        """Return the socket once, then None."""
        sock, self._sock = self._sock, None
        return sock


def test_a_connection_that_lets_go_of_its_socket_meanwhile_is_cut() -> None:
    deadline = Deadline(60)
    with closing(socket.socket()) as sock:
        connection: Any = _Letting(sock)
        deadline._connections.append(connection)

        deadline.cut(LeaseLost("Taken back."))

    with pytest.raises(LeaseLost):
        deadline.check()


def test_an_exchange_that_cannot_be_ended_takes_no_others_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watchdog, is_called = Watchdog(), threading.Event()

    def fail(_deadline: Deadline, _cause: TransientError) -> None:
        is_called.set()
        raise TypeError("no socket")

    with monkeypatch.context() as patched:
        patched.setattr(Deadline, "cut", fail)
        with watchdog.limit(0):
            assert is_called.wait(60)
    with watchdog.limit(0.1) as deadline:
        while deadline._cause is None:
            threading.Event().wait(0.01)

    assert watchdog._thread
    assert watchdog._thread.is_alive()
