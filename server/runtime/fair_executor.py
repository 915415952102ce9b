"""Turns of clients at the thread pool: a client that calls a lot delays its own calls only.

Calls that wait for locked rows occupy few of the threads: `RowWaits`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from storage.errors import RowsLocked
from storage.jobs.job_start import BUSY_LIMIT_S
from storage.postgres.postgres_errors import PART

T = TypeVar("T")


class RunBlocking(Protocol):
    """Calls a blocking function on a thread of the pool, with the context of the call."""

    def __call__(self, call: Callable[..., Any], *args: Any) -> Awaitable[Any]: ...


class FairExecutor:
    """Runs blocking work on `pool`. Clients take turns. For the event loop's thread only.

    `threads`: those that work at once. `share`: the most of them that one client may use; the
    others are free for the next client that calls.
    """

    def __init__(self, pool: ThreadPoolExecutor, *, threads: int, share: int) -> None:
        self._pool = pool
        self._threads = threads
        self._share = share
        self._busy: Counter[Hashable] = Counter()
        self._busy_count = 0
        # The client that was served longest ago comes first.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def run(self, client: Hashable, work: Callable[[], T]) -> T:
        """Return the result of `work`, which runs on a thread when it is the turn of `client`.

        `client`: None for work of this process, which may use every thread. If the caller is
        cancelled, work that waits is dropped; work that a thread runs completes.
        """
        await self._turn(client)
        begun = self._pool.submit(work)
        try:
            return await asyncio.wrap_future(begun)
        finally:
            self._end_with(begun, client)

    async def _turn(self, client: Hashable) -> None:
        if client not in self._waiting and self._has_room(client):
            self._take(client)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._end(client)
            raise

    def _has_room(self, client: Hashable) -> bool:
        is_below = client is None or self._busy[client] < self._share
        return is_below and self._busy_count < self._threads

    def _take(self, client: Hashable) -> None:
        self._busy[client] += 1
        self._busy_count += 1

    def _end_with(self, begun: Future[T], client: Hashable) -> None:
        """End the turn when the thread has finished, which a cancelled caller does not await."""
        if begun.done():
            self._end(client)
            return
        end = partial(asyncio.get_running_loop().call_soon_threadsafe, self._end, client)

        def finished(_: Future[T]) -> None:
            # The loop is closed if the process stops.
            with suppress(RuntimeError):
                end()

        begun.add_done_callback(finished)

    def _end(self, client: Hashable) -> None:
        self._busy_count -= 1
        self._busy[client] -= 1
        if not self._busy[client]:
            del self._busy[client]
        while self._give():
            pass

    def _give(self) -> bool:
        """Give one turn. Return False if no client may have one now."""
        for client, turns in self._waiting.items():
            if not self._has_room(client):
                continue
            turn = turns.popleft()
            del self._waiting[client]
            if turns:
                # The client goes behind all others.
                self._waiting[client] = turns
            # A call that has ended meanwhile needs no turn.
            if not turn.done():
                self._take(client)
                turn.set_result(None)
            return True
        return False


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
