"""GetUsage: the limits of a client and what it has used of them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

from autos.downloads.v1 import downloads_pb2 as pb
from server.access.open_calls import OpenCalls
from server.access.watch_limiter import WatchLimiter
from server.runtime.blocking_executor import RunBlocking
from storage.clients.client_registry import CallingClient
from storage.jobs import usage_queries
from storage.jobs.job_start import MAX_WEBHOOKS
from storage.jobs.usage_queries import StoredTotals
from storage.postgres.database import Database

# Seconds for which the totals of stored objects are kept: they cost a reading of all documents.
KEPT_S = 60.0


class UsageReader:
    """Reads what each client uses. For the event loop's thread only. `clock`: monotonic seconds."""

    def __init__(
        self,
        database: Database,
        run: RunBlocking,
        *,
        calls: OpenCalls,
        watches: WatchLimiter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._run = run
        self._calls = calls
        self._watches = watches
        self._clock = clock
        self._totals: dict[str, tuple[float, StoredTotals]] = {}
        self._readings: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, client: CallingClient) -> pb.GetUsageResponse:
        """Return the usage of `client`. Raises ServiceUnavailable."""
        running = await self._run(usage_queries.running_jobs, self._database, client.name)
        stored = await self._stored(client.name)
        usage = pb.GetUsageResponse(
            client=client.name,
            running_jobs=running,
            stored_bytes=stored.size_bytes,
            stored_documents=stored.documents,
            open_calls=self._calls.count(client.name),
            open_watches=self._watches.count(client.name),
            webhooks_per_job_limit=MAX_WEBHOOKS,
        )
        if limits := client.limits:
            usage.starts_per_minute_limit = limits.starts_per_minute
            usage.running_jobs_limit = limits.jobs_at_once
            usage.open_calls_limit = limits.calls_at_once
            usage.open_watches_limit = limits.open_watches
            usage.repeats_per_minute_limit = limits.repeats_per_minute
        return usage

    async def _stored(self, client: str) -> StoredTotals:
        # Calls that come during a reading share its result.
        async with self._readings[client]:
            read_at, totals = self._totals.get(client, (0.0, None))
            if totals is None or self._clock() - read_at > KEPT_S:
                totals = await self._run(usage_queries.stored_totals, self._database, client)
                self._totals[client] = self._clock(), totals
            return totals
