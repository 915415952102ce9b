"""An event loop that spares grpc.aio its wake-ups in vain.

grpc.aio writes itself a byte for each operation that is done. Woken, it takes one byte back and
does all that there is to do; each of the other bytes then wakes it for nothing, at the cost of a
turn of the loop. They are taken here, but for one: what they announced lay in its queue before they
came.
docs/PERFORMANCE.md has the figures.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

POLLER = "PollerCompletionQueue"
MOST_BYTES = 65_536


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's own, for a process that serves with grpc.aio."""

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """Calls `callback` whenever `fd` can be read."""
        if is_poller(callback) and isinstance(fd, socket.socket):
            callback = partial(_woken_once, fd, callback)
        super().add_reader(fd, callback, *args)


def is_poller(callback: Callable[..., Any]) -> bool:
    """Whether this is what grpc.aio does when it is woken."""
    method = callback.func if isinstance(callback, partial) else callback
    return type(getattr(method, "__self__", None)).__name__ == POLLER


def _woken_once(wakeups: socket.socket, callback: Callable[..., Any], *args: Any) -> None:
    waiting = len(wakeups.recv(MOST_BYTES, socket.MSG_PEEK))
    if waiting > 1:
        wakeups.recv(waiting - 1)
    callback(*args)
