"""Test that the server's event loop recognises grpc.aio's wake-ups and handles them at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import grpc.aio

from server.runtime.event_loop import EventLoop, is_poller


class Noting(EventLoop):
    """Records for each reader whether it belongs to grpc.aio's poller."""

    def __init__(self) -> None:
        self.pollers: list[bool] = []
        super().__init__()

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """Record the reader, then add it."""
        self.pollers.append(is_poller(callback))
        super().add_reader(fd, callback, *args)


def test_the_pinned_grpc_is_one_whose_wakeups_are_known() -> None:
    async def scenario() -> list[bool]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Noting)
        server = grpc.aio.server()
        await server.start()
        await server.stop(None)
        return loop.pollers

    with asyncio.Runner(loop_factory=Noting) as runner:
        assert any(runner.run(scenario())), "grpc.aio has changed: its wake-ups come one by one"


class PollerCompletionQueue:
    """A queue that reads one byte when it is woken, as grpc.aio's does."""

    def __init__(self, wakeups: socket.socket) -> None:
        self._wakeups = wakeups
        self.woken = 0

    def handle_events(self) -> None:
        """Handle all pending events."""
        self.woken += 1
        assert self._wakeups.recv(1)


def test_many_wakeups_at_once_are_one_and_none_is_lost() -> None:
    async def scenario() -> None:
        theirs, ours = socket.socketpair()
        with theirs, ours:
            poller = PollerCompletionQueue(theirs)
            asyncio.get_running_loop().add_reader(theirs, poller.handle_events)
            for times in (1, 2):
                ours.send(b"1" * 500)
                async with asyncio.timeout(60):
                    while poller.woken < times:
                        await asyncio.sleep(0)
            asyncio.get_running_loop().remove_reader(theirs)
            theirs.setblocking(False)
            assert poller.woken == 2
            assert not _is_left(theirs)

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(scenario())


def _is_left(wakeups: socket.socket) -> bool:
    try:
        return bool(wakeups.recv(1))
    except BlockingIOError:
        return False
