"""The calls under way in this process: counted by client, and ended if they are not read.

gRPC sends an answer only as fast as its caller reads, and keeps all of it until then. An answer
that takes longer than a moment counts as a call, and ends after a while. The moment is for callers
that make the next call as soon as they have read an answer, which the server notices a little
later. An answer in parts is a call until its end, and ends if one part takes too long.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import structlog

from server.runtime.stream_scheduler import reset_streams
from storage.clients.client_registry import CallingClient
from storage.errors import LimitReached

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The moment, and how often this process searches for answers that are not read, in seconds.
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class SentAnswer:
    """An answer, or a part, that is being sent since `since`, in seconds of the loop's clock.

    `is_part`: its call is counted until it has sent all parts.
    """

    client: str
    since: float
    is_part: bool = False


class OpenCalls:
    """Counts calls, but no watches. For the event loop's thread only.

    `unread_s`: seconds after which an answer that is not read ends.
    """

    def __init__(self, *, unread_s: float) -> None:
        self.unread_s = unread_s
        self._working: Counter[str] = Counter()
        # By the task of the call, the oldest first.
        self._answers: dict[asyncio.Task[Any], SentAnswer] = {}
        self._unread: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def acquire_call(self, client: CallingClient) -> Iterator[None]:
        """Count one call of `client` while the context is open. Raises LimitReached."""
        _require_room(client, self.count(client.name))
        self._working[client.name] += 1
        try:
            yield
        finally:
            self._working[client.name] -= 1
            if not self._working[client.name]:
                del self._working[client.name]

    @contextmanager
    def acquire_answer(self, client: CallingClient) -> Iterator[None]:
        """Count no call until its answer is sent. Raises LimitReached if answers are not read."""
        _require_room(client, self._unread[client.name])
        yield

    def answer(self, client: CallingClient) -> None:
        """Begin the time in which the caller must read the present call's answer."""
        self._begin_sending(client).add_done_callback(self._sent)

    @contextmanager
    def sending_part(self, client: CallingClient) -> Iterator[None]:
        """Limit the time in which the caller must read a part of the present call's answer."""
        call = self._begin_sending(client, is_part=True)
        try:
            yield
        finally:
            self._sent(call)

    def _begin_sending(self, client: CallingClient, *, is_part: bool = False) -> asyncio.Task[Any]:
        call, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert call is not None  # noqa: S101 - each call has a task
        self._answers[call] = SentAnswer(client.name, loop.time(), is_part)
        if self._timer is None:
            self._timer = self._start_timer()
        return call

    def count(self, client: str) -> int:
        """Return how many unary calls of a client are under way."""
        return self._working[client] + self._unread[client]

    def _sent(self, call: asyncio.Task[Any]) -> None:
        self._answers.pop(call, None)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        ages = {call: now - answer.since for call, answer in self._answers.items()}
        unread = [call for call, age_s in ages.items() if age_s > self.unread_s]
        if unread:
            log.warning("answers cut off: they are not read", calls=len(unread))
            for call in unread:
                # One reset is enough.
                del self._answers[call]
            reset_streams(unread)
        self._unread = Counter(
            answer.client
            for call, answer in self._answers.items()
            if ages[call] >= LOOK_S and not answer.is_part
        )
        self._timer = self._start_timer() if self._answers else None

    def _start_timer(self) -> asyncio.TimerHandle:
        # An empty context: its log lines do not belong to the call that starts it.
        return asyncio.get_running_loop().call_later(LOOK_S, self._look, context=Context())


def _require_room(client: CallingClient, count: int) -> None:
    if client.limits and count >= client.limits.calls_at_once:
        raise LimitReached("calls_at_once", client.name, client.limits.calls_at_once)


class WatchLimiter:
    """Counts the open watches of each client. For the event loop's thread only."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def acquire_watch(self, client: CallingClient) -> Iterator[None]:
        """Count one watch of `client` while the context is open. Raises LimitReached."""
        if client.limits and self._open[client.name] >= client.limits.open_watches:
            raise LimitReached("open_watches", client.name, client.limits.open_watches)
        self._open[client.name] += 1
        try:
            yield
        finally:
            self._open[client.name] -= 1
            if not self._open[client.name]:
                del self._open[client.name]

    def count(self, client: str) -> int:
        """Return how many watches a client has open."""
        return self._open[client]
