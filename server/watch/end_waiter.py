"""A WaitJob call: waits for the end of a job at the feed that watchers of the job share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from autos.downloads.v1 import downloads_pb2 as pb
from server.errors.error_statuses import ShuttingDown

if TYPE_CHECKING:
    from server.watch.feed import Feed


class EndWaiter:
    """Waits at a feed until the job has ended, for `timeout_s` at most.

    It holds no thread and no connection to PostgreSQL meanwhile. `job` is the job as it is known,
    `revision` what has been seen of it: the feed keeps no change for a call that waits.
    """

    def __init__(self, job: pb.Job, timeout_s: float) -> None:
        self.job = job
        self._timeout_s = timeout_s
        self._changed = asyncio.Event()
        self._farewell: ShuttingDown | None = None

    @property
    def revision(self) -> int:
        """The revision of the job as it is known."""
        return self.job.revision

    async def follow(self, feed: Feed) -> None:
        """Return when the job has ended or the time is over. Raises what it was sent away with."""
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
        """Look at the feed again."""
        self._changed.set()

    def send_away(self, farewell: ShuttingDown) -> None:
        """End the call, because this process ends."""
        self._farewell = farewell
        self.wake()
