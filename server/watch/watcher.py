"""A watcher: one open stream, told by its feed as fast as its reader reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from server.errors.error_statuses import ShuttingDown
from server.messages.stream_messages import heartbeat
from server.runtime.stream_scheduler import StreamScheduler

if TYPE_CHECKING:
    from server.watch.feed import Feed

NOT_WRITING = float("inf")
# How many messages a stream writes before the next stream does.
AT_ONCE = 8
# Timers may fire this much early.
TIMER_S = 0.005


class Watcher:
    """Follows a feed from `revision` on. `write` sends one message and returns when it is out.

    To be made in the task of its call. There is one timer, which is moved only when it fires: a
    watcher that is told something often must not pay for its heartbeats each time.
    """

    def __init__(
        self,
        revision: int,
        heartbeat_s: float,
        write: Callable[[bytes], Awaitable[None]],
        turns: StreamScheduler,
    ) -> None:
        self.revision = revision
        self._heartbeat_s = heartbeat_s
        self._write = write
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._call = asyncio.current_task()
        self._sent_at = self._loop.time()
        self._writing_since = NOT_WRITING
        self._waiter: asyncio.Future[bool] | None = None
        self._is_queued = False
        self._has_turn = False
        self._farewell: ShuttingDown | None = None

    async def follow(self, feed: Feed) -> None:
        """Tells the job, its documents, then what changes, until the job has ended.

        Raises what it was sent away with.
        """
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)
        try:
            await self._send([feed.opening(self.revision)], is_opening=True)
            while await self._send_delta(feed):
                while not await self._is_news(feed):
                    await self._send([heartbeat(self.revision)])
        finally:
            self._timer.cancel()

    def wake(self) -> None:
        """Let it look whether there is news, when it is its turn."""
        if self._waiter is not None and not self._waiter.done() and not self._is_queued:
            self._is_queued = True
            self._turns.queue(self, self._waiter)

    def send_away(self, farewell: ShuttingDown) -> None:
        """Ends the stream as soon as it has been told what is known."""
        self._farewell = farewell
        self.wake()

    def is_stalled(self, limit_s: float) -> bool:
        """Whether its reader has taken nothing for longer than that."""
        return self._loop.time() - self._writing_since > limit_s

    def to_be_cut(self) -> asyncio.Task[None]:
        """The task of its call, for `reset`. It does not count as stalled any more."""
        self._writing_since = NOT_WRITING  # once is enough
        assert self._call is not None  # noqa: S101 - it was made in one
        return self._call

    async def _send_delta(self, feed: Feed) -> bool:
        """Tells what is newer than its revision; whether there may be more to come."""
        news = feed.news(self.revision)
        messages = [*news.documents]
        if news.revision > self.revision or news.is_ended:
            self.revision = news.revision
            messages.append(news.job)
        for start in range(0, len(messages), AT_ONCE):
            await self._send(messages[start : start + AT_ONCE])
        if self._has_turn:
            self._end_turn()
        return not news.is_ended

    async def _is_news(self, feed: Feed) -> bool:
        """Waits for something new; False when it is time for a sign of life."""
        # Before every wait: nobody wakes who begins to wait after all were sent away.
        if self._farewell is not None:
            raise self._farewell
        if feed.revision > self.revision:
            return True
        self._waiter, self._is_queued = self._loop.create_future(), False
        self._has_turn = await self._waiter
        return self._has_turn

    async def _send(self, messages: Sequence[bytes], *, is_opening: bool = False) -> None:
        """Write messages in one turn."""
        try:
            if not self._has_turn:
                await self._turns.begin(self, is_opening=is_opening)
            for message in messages:
                self._sent_at = self._writing_since = self._loop.time()
                await self._write(message)
        finally:
            self._end_turn()
        self._writing_since = NOT_WRITING

    def _end_turn(self) -> None:
        self._has_turn = False
        self._turns.end(self)

    def _beat(self) -> None:
        due = self._sent_at + self._heartbeat_s
        now = self._loop.time()
        if now >= due - TIMER_S:
            self._end_wait()
            due = now + self._heartbeat_s
        self._timer = self._loop.call_at(due, self._beat)

    def _end_wait(self) -> None:
        """End the wait without news."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)
