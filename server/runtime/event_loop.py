"""An event loop that avoids needless wake-ups of grpc.aio.

grpc.aio writes one byte to its own pipe for each finished operation. At a wake-up it reads one byte
and handles all finished operations. Each of the other bytes then causes a wake-up without work,
which costs an iteration of the loop. This loop reads all bytes but one. No operation is lost: each
is queued before its byte is written. docs/PERFORMANCE.md has the figures.
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
    """asyncio's selector loop, for a process that serves with grpc.aio."""

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """Call `callback` whenever `fd` is readable."""
        if is_poller(callback) and isinstance(fd, socket.socket):
            callback = partial(_woken_once, fd, callback)
        super().add_reader(fd, callback, *args)


def is_poller(callback: Callable[..., Any]) -> bool:
    """Return True if `callback` is the function with which grpc.aio handles a wake-up."""
    method = callback.func if isinstance(callback, partial) else callback
    return type(getattr(method, "__self__", None)).__name__ == POLLER


def _woken_once(wakeups: socket.socket, callback: Callable[..., Any], *args: Any) -> None:
    waiting = len(wakeups.recv(MOST_BYTES, socket.MSG_PEEK))
    if waiting > 1:
        wakeups.recv(waiting - 1)
    callback(*args)
