"""GetUsage: the limits of a client and what it has used of them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from autos.downloads.v1 import downloads_pb2 as pb
from server.access.open_calls import OpenCalls, WatchLimiter
from server.runtime.fair_executor import RunBlocking
from storage.clients.client_registry import CallingClient
from storage.jobs import usage_queries
from storage.jobs.job_start import MAX_WEBHOOKS
from storage.jobs.usage_queries import StoredTotals
from storage.portal import case_budget
from storage.portal.case_budget import DAY_S, NO_BUDGET, CaseBudget, LimitUse
from storage.postgres.database import Database
from storage.subscriptions import subscription_rows

# Seconds for which the totals of stored objects are kept: they cost a reading of all documents.
KEPT_S = 60.0


class UsageReader:
    """Reads what each client uses. For the event loop's thread only."""

    def __init__(
        self,
        database: Database,
        run: RunBlocking,
        *,
        calls: OpenCalls,
        watches: WatchLimiter,
        budget: CaseBudget = NO_BUDGET,
    ) -> None:
        self._database = database
        self._run = run
        self._calls = calls
        self._watches = watches
        self._budget = budget
        self._totals: dict[str, tuple[float, StoredTotals]] = {}
        self._readings: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, client: CallingClient) -> pb.GetUsageResponse:
        """Return the usage of `client`. Raises ServiceUnavailable."""
        jobs = await self._run(usage_queries.open_jobs, self._database, client.name)
        watched = await self._run(subscription_rows.count, self._database, client.name)
        stored = await self._stored(client.name)
        usage = pb.GetUsageResponse(
            client=client.name,
            running_jobs=jobs.running,
            waiting_jobs=jobs.waiting,
            subscriptions=watched,
            stored_bytes=stored.size_bytes,
            stored_documents=stored.documents,
            open_calls=self._calls.count(client.name),
            open_watches=self._watches.count(client.name),
            webhooks_per_job_limit=MAX_WEBHOOKS,
        )
        if limits := client.limits:
            usage.starts_per_minute_limit = limits.starts_per_minute
            usage.running_jobs_limit = limits.jobs_at_once
            usage.waiting_jobs_limit = limits.waiting_jobs
            usage.subscriptions_limit = limits.subscriptions
            usage.open_calls_limit = limits.calls_at_once
            usage.open_watches_limit = limits.open_watches
            usage.repeats_per_minute_limit = limits.repeats_per_minute
        if self._budget.limits:
            used = await self._run(case_budget.read_all, self._database, self._budget)
            usage.case_budget.CopyFrom(_case_budget(used))
        return usage

    async def _stored(self, client: str) -> StoredTotals:
        # Calls that come during a reading share its result.
        async with self._readings[client]:
            read_at, totals = self._totals.get(client, (0.0, None))
            if totals is None or time.monotonic() - read_at > KEPT_S:
                totals = await self._run(usage_queries.stored_totals, self._database, client)
                self._totals[client] = time.monotonic(), totals
            return totals


def _case_budget(used: Sequence[LimitUse]) -> pb.CaseBudget:
    """Return the message of a budget. `used`: both windows of all courts, and of single ones."""
    budget = pb.CaseBudget()
    courts: dict[str, pb.CourtCaseBudget] = {}
    for use in used:
        court, most = use.limit.court, use.limit.most or 0
        part: pb.CaseBudget | pb.CourtCaseBudget = budget
        if court is not None:
            part = courts.setdefault(court, pb.CourtCaseBudget(court=court))
        if use.limit.window_s == DAY_S:
            part.cases_last_day, part.cases_per_day_limit = use.cases, most
        else:
            part.cases_last_30_days, part.cases_per_30_days_limit = use.cases, most
    budget.courts.extend(courts.values())
    return budget
