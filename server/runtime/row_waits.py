"""Calls that wait for locked rows: they occupy few threads of the pool that all calls share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakValueDictionary

from server.runtime.fair_executor import RunBlocking
from storage.errors import RowsLocked
from storage.jobs.job_start import BUSY_LIMIT_S
from storage.postgres.postgres_errors import PART

# The threads of all calls that have found their rows locked.
WAITING_THREADS = 4
PAUSE_S = 0.05


class RowWaits:
    """Runs calls that lock the row of a job, or of a case.

    A call waits in its thread for a moment, up to PostgreSQL's lock_timeout. After that, it waits
    without a thread, and is repeated. Of the calls with one key, one has a thread. A key has the
    client's name, so that no client waits for the calls of another.
    """

    def __init__(self, run: RunBlocking, *, limit_s: float | None = None) -> None:
        """Set the pool, and how many seconds a call may wait (None: BUSY_LIMIT_S)."""
        self._run = run
        self._limit_s = BUSY_LIMIT_S if limit_s is None else limit_s
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._repeating = asyncio.Semaphore(WAITING_THREADS)

    async def run(self, key: Hashable, call: Callable[..., Any], *args: Any) -> Any:
        """Return the result of `call`, which may be called several times.

        Raises RowsLocked if the rows stay locked; nothing was changed then.
        """
        end = time.monotonic() + self._limit_s
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(self._limit_s):
                await lock.acquire()
        except TimeoutError as error:
            raise RowsLocked(PART) from error
        try:
            return await self._repeated(end, call, *args)
        finally:
            lock.release()

    async def _repeated(self, end: float, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return await self._run(call, *args)
        except RowsLocked:
            if time.monotonic() > end:
                raise
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                async with self._repeating:
                    return await self._run(call, *args)
            except RowsLocked:
                if time.monotonic() > end:
                    raise
