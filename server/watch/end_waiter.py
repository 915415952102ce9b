"""A WaitJob call: it waits for the end of a job on the feed that the job's watchers share."""

from __future__ import annotations

import asyncio

from autos.downloads.v1 import downloads_pb2 as pb
from server.errors.error_statuses import ShuttingDown
from server.watch.feed import Feed


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
