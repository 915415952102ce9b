"""The watchers of a feed: open streams, and WaitJob calls, which wait for the end of the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from autos.downloads.v1 import downloads_pb2 as pb
from server.errors import ShuttingDown
from server.messages import heartbeat
from server.runtime.stream_scheduler import StreamScheduler
from server.watch.feed import Feed

NOT_WRITING = float("inf")
# The maximum number of messages that a stream writes in one turn.
AT_ONCE = 8
# Timers may fire this much early.
TIMER_S = 0.005


class Watcher:
    """A WatchProgress stream, which follows a feed from `revision` on.

    `write` sends one message and returns when gRPC has taken it. `turns` shares the event loop
    between streams. A watcher must be created in the task of its call. It has one timer, which is
    reset only when it fires, so that heartbeats add no cost to each message of a busy stream.
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
        """Send the job, its documents, then each change, until the job has ended.

        Raises ShuttingDown if this process stops.
        """
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)
        try:
            await self._send([feed.opening(self.revision)], is_opening=True)
            while await self._send_delta(feed):
                while not await self._await_news(feed):
                    await self._send([heartbeat(self.revision)])
        finally:
            self._timer.cancel()

    def wake(self) -> None:
        """Make the stream read the feed at its next turn."""
        if self._waiter is not None and not self._waiter.done() and not self._is_queued:
            self._is_queued = True
            self._turns.queue(self, self._waiter)

    def send_away(self, farewell: ShuttingDown) -> None:
        """End the stream with `farewell` as soon as it has sent all known changes."""
        self._farewell = farewell
        self.wake()

    def is_stalled(self, limit_s: float) -> bool:
        """Return True if the receiver has read nothing for more than `limit_s` seconds."""
        return self._loop.time() - self._writing_since > limit_s

    def to_be_cut(self) -> asyncio.Task[None]:
        """Return the task of this call, for `reset_streams`. It no longer counts as stalled."""
        self._writing_since = NOT_WRITING  # one reset is enough
        assert self._call is not None  # noqa: S101 - it was created in a task
        return self._call

    async def _send_delta(self, feed: Feed) -> bool:
        """Send all changes after the stream's revision. Return False if the job has ended."""
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

    async def _await_news(self, feed: Feed) -> bool:
        """Wait for a change. Return False if a heartbeat is due."""
        # Checked before each wait: no wake-up follows after send_away was called.
        if self._farewell is not None:
            raise self._farewell
        if feed.revision > self.revision:
            return True
        self._waiter, self._is_queued = self._loop.create_future(), False
        self._has_turn = await self._waiter
        return self._has_turn

    async def _send(self, messages: Sequence[bytes], *, is_opening: bool = False) -> None:
        """Write messages during one turn."""
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
        """End the wait of `_await_news` without a change: a heartbeat is due."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)


class EndWaiter:
    """Waits on a feed until the job has ended, for at most `timeout_s` seconds.

    Meanwhile it occupies no thread and no connection to PostgreSQL. `job` is the job's last known
    form. `revision` is the revision of that form, so the feed keeps no changes for this call.
    """

    def __init__(self, job: pb.Job, timeout_s: float) -> None:
        self.job = job
        self._timeout_s = timeout_s
        self._changed = asyncio.Event()
        self._farewell: ShuttingDown | None = None

    @property
    def revision(self) -> int:
        """Return the revision of the job's last known form."""
        return self.job.revision

    async def follow(self, feed: Feed) -> None:
        """Return when the job has ended or the timeout has passed. Raises ShuttingDown."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not feed.is_ended:
                    if self._farewell is not None:
                        raise self._farewell
                    self.job = feed.job
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        self.job = feed.job

    def wake(self) -> None:
        """Read the feed again."""
        self._changed.set()

    def send_away(self, farewell: ShuttingDown) -> None:
        """End the call with `farewell`, because this process stops."""
        self._farewell = farewell
        self.wake()
