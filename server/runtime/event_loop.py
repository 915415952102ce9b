"""The event loop of the server process, without needless wake-ups, and its background tasks.

grpc.aio writes one byte to its own pipe for each finished operation. At a wake-up it reads one byte
and handles all finished operations. Each of the other bytes then causes a wake-up without work,
which costs an iteration of the loop. This loop reads all bytes but one. No operation is lost: each
is queued before its byte is written. docs/PERFORMANCE.md has the figures.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

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


log: structlog.stdlib.BoundLogger = structlog.get_logger()

RESTART_S = 2.0
# A task that goes on although it was cancelled is cancelled again after this, in seconds.
CANCEL_AGAIN_S = 0.1


class Background:
    """Runs tasks in the event loop, and restarts a task that an error has ended."""

    def __init__(self, *, restart_s: float = RESTART_S) -> None:
        self._restart_s = restart_s
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it returns. Restart it after each error."""
        task = asyncio.create_task(self._run(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel all tasks and return when they have ended."""
        tasks = set(self._tasks)
        pending = tasks
        while pending:
            # Again and again: a library may take a cancellation for its own timeout.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        seen = ""
        while True:
            try:
                await work()
            except Exception as error:
                # If the same error occurs every few seconds, only the first one is logged.
                if repr(error) != seen:
                    log.exception("background task failed; it begins again", task=name)
                seen = repr(error)
                await asyncio.sleep(self._restart_s)
            else:
                return


def log_unseen_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log every error that no task awaits as one line of the structured log."""
    loop.set_exception_handler(_log_unseen)


def _log_unseen(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    log.error(
        "error that nothing awaited",
        what=context.get("message"),
        exc_info=error if isinstance(error, BaseException) else None,
    )
