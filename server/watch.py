"""Watching: one feed per watched job in this process, whatever the number of its watchers.

Level-triggered. A wake-up from Redis, or a look every second without it, says only that a job has
a newer revision; the feed then reads what changed, once for all of its watchers. A watcher asks
its feed for everything above its own revision, so a slow one gets the latest state and no queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from uuid import UUID

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from proto import downloads_pb2 as pb
from storage.errors import AutosError
from storage.wakeups import CHANNEL, told

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POLL_S = 1.0
# Above every revision, so that no document has changed since.
BEYOND_ALL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Change:
    """A job as it is, and its documents that changed, in the order of their revisions."""

    job: pb.Job
    documents: list[pb.Document]


class Reader:
    """What feeds read, off the event loop."""

    def __init__(
        self,
        *,
        read: Callable[[UUID, int], Awaitable[Change]],
        revisions: Callable[[list[UUID]], Awaitable[dict[UUID, int]]],
    ) -> None:
        self.read = read
        self.revisions = revisions


class Feed:
    """The changes of one job since its first watcher came."""

    def __init__(self, job_id: UUID, reader: Reader) -> None:
        self.job_id = job_id
        self.watchers = 0
        self.revision = -1
        self._floor = -1
        self._job: pb.Job | None = None
        self._tail: dict[str, pb.Document] = {}
        self._reader = reader
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()

    async def refresh(self, up_to: int) -> None:
        """Reads what is new, unless a revision of `up_to` is known already."""
        async with self._reading:
            if self.revision >= up_to:
                return
            is_first = self._job is None
            # At first only the job is wanted: see _take.
            after = BEYOND_ALL if is_first else self.revision
            change = await self._reader.read(self.job_id, after)
            self._take(change, is_first=is_first)

    def _take(self, change: Change, *, is_first: bool) -> None:
        if is_first:
            # Older documents are read by each watcher for itself, from its own revision on.
            self._floor = change.job.revision
        else:
            for document in change.documents:
                # Moved to the end, so that the tail stays in the order of revisions.
                self._tail.pop(document.document_id, None)
                self._tail[document.document_id] = document
        self._job, self.revision = change.job, change.job.revision
        self._changed.set()
        self._changed = asyncio.Event()

    async def since(self, revision: int) -> Change:
        """The job, and every document that changed after `revision`."""
        if self._job is None:
            await self.refresh(0)
        if revision < self._floor:
            return await self._reader.read(self.job_id, revision)
        assert self._job is not None  # noqa: S101 - refresh() saw to it
        # The tail is in the order of revisions: only its new end is looked at.
        newer = list(takewhile(lambda d: d.revision > revision, reversed(self._tail.values())))
        return Change(self._job, newer[::-1])

    async def wait(self, revision: int, timeout_s: float) -> bool:
        """Waits for something after `revision`; False when `timeout_s` passed without."""
        if self.revision > revision:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """Lets every watcher look again."""
        self._changed.set()
        self._changed = asyncio.Event()


class Hub:
    """The feeds of this process, and what wakes them."""

    def __init__(self, reader: Reader, redis_url: str) -> None:
        self._reader = reader
        self._redis_url = redis_url
        self._feeds: dict[UUID, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_closing = False

    @contextlib.contextmanager
    def feed(self, job_id: UUID) -> Iterator[Feed]:
        """The feed of a job, kept while anybody watches it."""
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed(job_id, self._reader)
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                self._feeds.pop(job_id, None)

    def start(self) -> None:
        """Begins to listen and to poll."""
        self._spawn(self._listen())
        self._spawn(self._poll())

    async def close(self) -> None:
        """Wakes all watchers so that they end, and stops."""
        self.is_closing = True
        for feed in list(self._feeds.values()):
            feed.wake()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hint(self, job_id: UUID, revision: int) -> None:
        feed = self._feeds.get(job_id)
        if feed is not None and revision > feed.revision:
            self._spawn(self._refresh(feed, revision))

    async def _refresh(self, feed: Feed, revision: int) -> None:
        try:
            await feed.refresh(revision)
        except AutosError as error:
            log.warning("feed not read", job_id=str(feed.job_id), error=error.reason)

    async def _listen(self) -> None:
        while True:
            try:
                async for job_id, revision in _wakeups(self._redis_url):
                    self._hint(job_id, revision)
            except (RedisError, OSError) as error:
                log.warning("no wake-ups; polling", error=type(error).__name__)
            except Exception:
                # Such as a foreign message on the channel: watching must not end for good.
                log.exception("wake-up not understood")
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not self._feeds:
                continue
            try:
                found = await self._reader.revisions(list(self._feeds))
            except AutosError as error:
                log.warning("jobs not polled", error=error.reason)
                continue
            except Exception:
                log.exception("poll broke")
                continue
            for job_id, revision in found.items():
                self._hint(job_id, revision)


async def _wakeups(redis_url: str) -> AsyncIterator[tuple[UUID, int]]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    async with client, client.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(CHANNEL)
        async for message in subscription.listen():
            for change in told(str(message["data"])):
                yield change
