"""An event loop that spares grpc.aio most of its wake-ups.

grpc.aio writes itself a byte for each operation that is done. Woken, it takes one byte back and does
all that is to be done; the other bytes then wake it in vain, each for a turn of the loop. They are
taken here, but for one: what was announced by them lies in its queue already.
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

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> Any:
        """Calls `callback` whenever `fd` can be read."""
        owner = type(getattr(callback, "__self__", None)).__name__
        if owner == POLLER and isinstance(fd, socket.socket):
            callback = partial(_woken_once, fd, callback)
        return super().add_reader(fd, callback, *args)


def _woken_once(wakeups: socket.socket, callback: Callable[[], None]) -> None:
    waiting = len(wakeups.recv(MOST_BYTES, socket.MSG_PEEK))
    if waiting > 1:
        wakeups.recv(waiting - 1)
    callback()
