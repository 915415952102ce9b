"""Places of running jobs, off the event loop, read for many calls and watchers at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from server.queue.queue_view import NOWHERE, QueueStatus, QueueView
from server.runtime.blocking_executor import RunBlocking
from server.runtime.request_coalescer import RequestCoalescer

# A place that watchers were sent is used for this long.
FRESH_S = 1.0
# How long a call waits for a place that is not published yet, and how often it reads meanwhile.
WAIT_S = 0.05
POLL_S = 0.004
# No call waits while this many wait, or if so many of the last second found a place unknown.
MOST_WAITS = 4
BUSY_CALLS = 20
BUSY_S = 1.0
# After so many waits in vain, one after the other, no call waits for this long.
VAIN_WAITS = 3
VAIN_S = 2.0


class QueuePositionCache:
    """Where running jobs stand. For the event loop, if nothing else is said.

    `clock`: seconds that only grow.
    """

    def __init__(
        self, queue: QueueView, run: RunBlocking, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._run = run
        self._clock = clock
        self._reading: RequestCoalescer[tuple[UUID, str], QueueStatus] = RequestCoalescer(
            self._read
        )
        self._known: dict[UUID, tuple[float, QueueStatus]] = {}
        self._unknown_at: deque[float] = deque(maxlen=BUSY_CALLS)
        self._waits = 0
        self._vain_waits = 0
        self._wait_again_at = float("-inf")

    # For calls

    async def now(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return where running jobs stand. `courts`: the jobs with their courts.

        If few calls come, one whose place is not published yet waits for it, up to WAIT_S.
        """
        found = await self._all(courts)
        missing = _unpublished(found)
        if missing:
            is_busy = self.is_busy()
            self.note_unknown()
            if not is_busy:
                found |= await self._wait({job_id: courts[job_id] for job_id in missing})
        return found

    def is_busy(self) -> bool:
        """Return whether no call may wait for its place now. Thread-safe."""
        now = self._clock()
        is_crowded = len(self._unknown_at) == BUSY_CALLS and now - self._unknown_at[0] < BUSY_S
        return (
            is_crowded
            or self._waits >= MOST_WAITS
            or now < self._wait_again_at
            or self._queue.is_quiet
        )

    def note_unknown(self, calls: int = 1) -> None:
        """Note that the places of so many calls were unknown. Thread-safe."""
        self._unknown_at.extend([self._clock()] * min(calls, BUSY_CALLS))

    async def _wait(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return the places of jobs when all are published, or after WAIT_S."""
        deadline = self._clock() + WAIT_S
        self._waits += 1
        try:
            while True:
                await asyncio.sleep(POLL_S)
                found = await self._all(courts)
                missing = _unpublished(found)
                if not missing or self._clock() >= deadline or self._queue.is_quiet:
                    break
        finally:
            self._waits -= 1
        self._vain_waits = self._vain_waits + 1 if missing else 0
        if self._vain_waits >= VAIN_WAITS:
            self._wait_again_at = self._clock() + VAIN_S
        return found

    # For watchers

    def of(self, job_id: UUID) -> QueueStatus:
        """Return where a watched job stood when it was read last."""
        _, place = self._known.get(job_id, (0.0, NOWHERE))
        return place

    async def open(self, job_id: UUID, court: str) -> None:
        """Read the place of a job for one that begins to watch it, unless it is fresh."""
        if self._is_old(job_id):
            self._keep(await self.now({job_id: court}))

    async def fresh(self, courts: Mapping[UUID, str]) -> None:
        """Return when the places of these watched jobs are fresh. Waits for no publication."""
        self._keep(await self._all({i: court for i, court in courts.items() if self._is_old(i)}))

    def forget(self, job_ids: Iterable[UUID]) -> None:
        """Drop the places of jobs that are not watched any more."""
        for job_id in job_ids:
            self._known.pop(job_id, None)

    def _is_old(self, job_id: UUID) -> bool:
        read_at, _ = self._known.get(job_id, (float("-inf"), NOWHERE))
        return self._clock() - read_at >= FRESH_S

    def _keep(self, places: Mapping[UUID, QueueStatus]) -> None:
        now = self._clock()
        for job_id, place in places.items():
            before = self.of(job_id)
            # The same object if nothing changed: what was made of it stays good.
            self._known[job_id] = now, before if before == place else place

    # Reading

    async def _all(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return places as they are published now."""
        requested = [self._reading.ask(key) for key in courts.items()]
        if requested:
            await asyncio.wait(requested)
        answers = zip(courts, requested, strict=True)
        return {job_id: answer.result() or NOWHERE for job_id, answer in answers}

    async def _read(
        self, requested: list[tuple[UUID, str]]
    ) -> Mapping[tuple[UUID, str], QueueStatus]:
        found: Mapping[UUID, QueueStatus] = await self._run(self._queue.places, dict(requested))
        return {key: found[key[0]] for key in requested}


def _unpublished(places: Mapping[UUID, QueueStatus]) -> list[UUID]:
    return [job_id for job_id, place in places.items() if not place.is_published]
