"""The watch hub: one feed per watched job in this process, for any number of watchers.

Watching is level-triggered. A wake-up (a message in Valkey), or a poll every second, reports only
that a job has a newer revision. The hub then reads the changes of all such jobs at once, for all of
their watchers. A watcher takes from its feed everything above its own revision. So a slow watcher
gets the latest state, and no changes wait for it in a queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from autos.downloads.v1 import downloads_pb2 as pb
from server.errors import ShuttingDown
from server.messages import SerializedDocument
from server.queue.queue_position_cache import QueuePositionCache
from server.runtime.event_loop import Background
from server.runtime.request_coalescer import RequestCoalescer
from server.runtime.stream_scheduler import reset_streams
from server.watch.feed import Change, Feed, Follower
from server.watch.watch_reader import Opening, WatchReader
from server.watch.watcher import Watcher
from storage.errors import AutosError, NotFound
from storage.jobs.change_notifications import CHANNEL, parse_changes
from storage.logs import OutageLog
from storage.valkey import PART, connected, meaning

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POLL_S = 1.0
# The name of this operation in the log.
WAKE_UPS = "wake-ups"
# Seconds that the hub stays subscribed after the last watcher has left.
UNWATCHED_S = 5.0
# A stream is reset if its reader reads nothing for this many seconds.
STALL_S = 30.0


class WatchHub:
    """The feeds of this process, and their wake-ups.

    `stall_s`: seconds without a read after which a stream is reset.
    """

    def __init__(
        self,
        readings: WatchReader,
        places: QueuePositionCache,
        redis_url: str,
        *,
        stall_s: float = STALL_S,
    ) -> None:
        self._readings = readings
        self._places = places
        self._redis_url = redis_url
        self._stall_s = stall_s
        self._feeds: dict[UUID, Feed] = {}
        self._changes: RequestCoalescer[tuple[UUID, int], bool] = RequestCoalescer(
            self._read_changes
        )
        self._background = Background()
        self._is_watched = asyncio.Event()
        self._last_watched_at = 0.0
        self._is_closing = False
        self._outages = OutageLog(PART)

    async def opening(
        self, client: str, target: UUID | str, after_revision: int
    ) -> tuple[pb.Job, Sequence[SerializedDocument] | None]:
        """Return a job, and its documents that changed after `after_revision`, for `follow`.

        If another call watches the job, its feed has the documents: then they are None. Raises
        NotFound.
        """
        job_id = await self._readings.id_of(client, target)
        if job_id in self._feeds:
            return await self._readings.job(client, job_id), None
        change = await self._readings.opening(Opening(client, job_id, after_revision))
        return change.job, change.documents

    async def follow(
        self, job: pb.Job, watcher: Follower, documents: Sequence[SerializedDocument] | None = None
    ) -> None:
        """Serve a watcher until its job has ended.

        `job` must have been read just now. `documents`: those that changed after the watcher's
        revision; None if they were not read. Raises ShuttingDown if this process stops.
        """
        if self._is_closing:
            raise ShuttingDown
        feed = self._feed(job)
        if documents is not None:
            feed.take(Change(job, documents), watcher.revision)
        feed.watchers.add(watcher)
        self._is_watched.set()
        try:
            # This comes before the reading of changes, so that the reading needs no position.
            if not feed.is_ended:
                await self._places.open(feed.job_id, feed.court)
            # An existing feed may be older than the job just read, or begin at a later revision.
            while feed.revision < job.revision or watcher.revision < feed.floor:
                await self._read(feed, min(watcher.revision, feed.revision))
            await watcher.follow(feed)
        finally:
            feed.watchers.discard(watcher)
            if not feed.watchers:
                del self._feeds[feed.job_id]
                self._places.forget([feed.job_id])
            self._last_watched_at = time.monotonic()

    def _feed(self, job: pb.Job) -> Feed:
        job_id = UUID(job.job_id)
        if job_id not in self._feeds:
            self._feeds[job_id] = Feed(job, self._places)
        return self._feeds[job_id]

    def start(self) -> None:
        """Start the subscription and the polling."""
        self._background.start("wake-ups", self._listen)
        self._background.start("poll", self._poll)

    async def close(self) -> None:
        """End all watchers with spread retry delays, then stop the background tasks."""
        self._is_closing = True
        watchers = [watcher for feed in self._feeds.values() for watcher in feed.watchers]
        for watcher in watchers:
            watcher.send_away(ShuttingDown(callers=len(watchers)))
        await self._background.stop()

    async def _read(self, feed: Feed, after_revision: int) -> None:
        if not await self._changes.get((feed.job_id, after_revision)):
            raise NotFound("job", str(feed.job_id))

    async def _read_changes(
        self, requested: list[tuple[UUID, int]]
    ) -> Mapping[tuple[UUID, int], bool]:
        """Read the changes after these revisions and add them to the feeds."""
        after: dict[UUID, int] = {}
        for job_id, revision in requested:
            after[job_id] = min(revision, after.get(job_id, revision))
        courts = {
            job_id: feed.court
            for job_id in after
            if (feed := self._feeds.get(job_id)) and not feed.is_ended
        }
        try:
            found, _ = await asyncio.gather(
                self._readings.changes(after), self._places.fresh(courts)
            )
        except AutosError as error:
            log.warning("feeds not read", error=error.reason)
            raise
        except Exception:
            # Nothing awaits a reading that a wake-up began, so the error is logged here.
            log.exception("feeds not read")
            raise
        self._places.forget(courts.keys() - self._feeds.keys())
        for job_id, change in found.items():
            if feed := self._feeds.get(job_id):
                feed.take(change, after[job_id])
        return dict.fromkeys(((job_id, r) for job_id, r in requested if job_id in found), True)

    def _hint(self, job_id: UUID, revision: int) -> None:
        feed = self._feeds.get(job_id)
        if feed is not None and revision > feed.revision:
            self._changes.ask((job_id, feed.revision))

    async def _listen(self) -> None:
        while True:
            await self._is_watched.wait()
            try:
                await self._receive_changes()
                continue
            except (RedisError, OSError) as error:
                # Until Valkey answers again, only the poll finds changes.
                self._outages.failed(WAKE_UPS, meaning(error))
            except Exception:
                # For example, a foreign message arrived on the channel. Watching must continue.
                log.exception("wake-up not understood")
            await asyncio.sleep(POLL_S)

    async def _receive_changes(self) -> None:
        """Receive change notifications; end when the last watcher has been gone for UNWATCHED_S."""
        async with aclosing(_wakeups(self._redis_url)) as wakeups:
            async for wakeup in wakeups:
                if wakeup is None:
                    self._outages.succeeded(WAKE_UPS)
                    try:
                        await self._read_revisions()
                    except AutosError as error:
                        log.warning("jobs not polled", error=error.reason)
                elif self._feeds:
                    self._hint(*wakeup)
                elif time.monotonic() - self._last_watched_at > UNWATCHED_S:
                    self._is_watched.clear()
                    return

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if self._feeds:
                try:
                    await self._poll_once()
                except AutosError as error:
                    log.warning("jobs not polled", error=error.reason)
                except Exception:
                    log.exception("poll failed unexpectedly")

    async def _poll_once(self) -> None:
        for feed in self._feeds.values():
            feed.forget()
        self._cut_stalled()
        await self._read_revisions()

    async def _read_revisions(self) -> None:
        if self._feeds:
            for job_id, revision in (await self._readings.revisions(list(self._feeds))).items():
                self._hint(job_id, revision)

    def _cut_stalled(self) -> None:
        stalled = [
            (feed, watcher)
            for feed in self._feeds.values()
            for watcher in feed.watchers
            if isinstance(watcher, Watcher) and watcher.is_stalled(self._stall_s)
        ]
        for feed, _ in stalled:
            log.warning("watcher cut off: it does not read", job_id=str(feed.job_id))
        if stalled:
            # gRPC cannot send a reason. One search for all: a search for one task takes as long.
            reset_streams([watcher.to_be_cut() for _, watcher in stalled])


async def _wakeups(redis_url: str) -> AsyncGenerator[tuple[UUID, int] | None]:
    """Yield the change notifications (job id, revision) from now on.

    A None means that the subscription has begun, and that earlier notifications may be lost.
    """
    async with connected(redis_url) as client, client.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        async for message in subscription.listen():
            if message["type"] != "message":
                yield None
                continue
            for change in parse_changes(str(message["data"])):
                yield change
