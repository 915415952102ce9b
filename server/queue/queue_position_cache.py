"""Queue positions of running jobs: threads read them for many calls and watchers at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from server.queue.queue_view import NOWHERE, QueueStatus, QueueView
from server.runtime.fair_executor import RunBlocking
from server.runtime.request_coalescer import RequestCoalescer

# Seconds that a position which was read for watchers stays valid.
FRESH_S = 1.0
# Seconds that a call waits for a position to be published, and seconds between its readings.
WAIT_S = 0.05
POLL_S = 0.004
# No call waits while MOST_WAITS calls wait, or if BUSY_CALLS calls of the last BUSY_S seconds found
# an unknown position.
MOST_WAITS = 4
BUSY_CALLS = 20
BUSY_S = 1.0
# After VAIN_WAITS consecutive waits without a position, no call waits for VAIN_S seconds.
VAIN_WAITS = 3
VAIN_S = 2.0


class QueuePositionCache:
    """Reads and caches queue positions.

    Only the methods marked as thread-safe may be called outside the event loop's thread.
    `clock`: monotonic seconds.
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
        """Return the queue positions of running jobs. `courts`: the court of each job.

        Under low load a call waits up to WAIT_S for positions that are not published yet.
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
        """Return True if no call may wait for its position now. Thread-safe."""
        now = self._clock()
        is_crowded = len(self._unknown_at) == BUSY_CALLS and now - self._unknown_at[0] < BUSY_S
        return (
            is_crowded
            or self._waits >= MOST_WAITS
            or now < self._wait_again_at
            or self._queue.is_quiet
        )

    def note_unknown(self, calls: int = 1) -> None:
        """Record that the positions of `calls` calls were unknown. Thread-safe."""
        self._unknown_at.extend([self._clock()] * min(calls, BUSY_CALLS))

    async def _wait(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return the positions of jobs when all are published, or after WAIT_S."""
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
        """Return the position of a watched job as it was read last."""
        _, place = self._known.get(job_id, (0.0, NOWHERE))
        return place

    async def open(self, job_id: UUID, court: str) -> None:
        """Read the position of a job for a new watcher, unless the cached one is fresh.

        While new jobs are served at once, there is no position to wait for.
        """
        if self._is_old(job_id):
            courts = {job_id: court}
            served = await self._run(self._queue.served_at_once, courts)
            self._keep(await self.now(courts) if served is None else served)

    async def fresh(self, courts: Mapping[UUID, str]) -> None:
        """Read the positions of opened jobs that are not fresh. Waits for no publication."""
        old = {i: court for i, court in courts.items() if i in self._known and self._is_old(i)}
        self._keep(await self._all(old))

    def forget(self, job_ids: Iterable[UUID]) -> None:
        """Drop the positions of jobs that are no longer watched."""
        for job_id in job_ids:
            self._known.pop(job_id, None)

    def _is_old(self, job_id: UUID) -> bool:
        read_at, _ = self._known.get(job_id, (float("-inf"), NOWHERE))
        return self._clock() - read_at >= FRESH_S

    def _keep(self, places: Mapping[UUID, QueueStatus]) -> None:
        now = self._clock()
        for job_id, place in places.items():
            before = self.of(job_id)
            # If nothing changed, keep the object: messages that were serialized from it stay valid.
            self._known[job_id] = now, before if before == place else place

    # Reading

    async def _all(self, courts: Mapping[UUID, str]) -> dict[UUID, QueueStatus]:
        """Return the positions that are published now."""
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
