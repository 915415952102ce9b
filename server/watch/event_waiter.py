"""Calls that wait for a client's next event. They hold neither a thread nor a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog

from server.errors.error_statuses import ShuttingDown
from storage.errors import ServiceUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

INTERVAL_S = 1.0

# Returns the number of the newest event of each client that has any.
LastNumbers = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]


class EventWaiter:
    """One reading a second serves all waiting calls. For the event loop's thread only."""

    def __init__(self, last_numbers: LastNumbers, *, interval_s: float = INTERVAL_S) -> None:
        self._last_numbers = last_numbers
        self._interval_s = interval_s
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, client: str, after: int, timeout_s: float) -> None:
        """Return when the log of `client` may have an event after number `after`.

        Returns after `timeout_s` seconds in any case. Raises ShuttingDown if the server stops.
        """
        found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[found] = (client, after)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait([found], timeout=timeout_s)
            for each in done:
                each.result()
        finally:
            del self._waiting[found]
            if found.done():
                # A call that is cancelled now does not read the error of a stop.
                found.exception()

    @property
    def count(self) -> int:
        """Return how many calls wait."""
        return len(self._waiting)

    async def _read(self) -> None:
        """Read until no call waits."""
        while self._waiting:
            try:
                last = await self._last_numbers({client for client, _ in self._waiting.values()})
            except ServiceUnavailable:
                # The call itself answers this when its time is over.
                last = {}
            except Exception:
                log.exception("events not read")
                last = {}
            for found, (client, after) in self._waiting.items():
                if last.get(client, 0) > after and not found.done():
                    found.set_result(None)
            await asyncio.sleep(self._interval_s)

    async def close(self) -> None:
        """End the readings, and the calls that wait."""
        for found in self._waiting:
            if not found.done():
                found.set_exception(ShuttingDown())
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
