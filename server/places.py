"""The queue as watchers are told it: one look for all of them, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from uuid import UUID

from storage.queue_view import LOOK_S, Place, QueueView

NEVER = float("-inf")


class Places:
    """Where running jobs stand, at most LOOK_S old for who calls `fresh` first."""

    def __init__(
        self, queue: QueueView, run: Callable[[Callable[[], None]], Awaitable[None]]
    ) -> None:
        self._queue = queue
        self._run = run
        self._looking: asyncio.Task[None] | None = None
        self._is_wanted = False

    @property
    def looked(self) -> float:
        """When was looked last; what was made of it is good as long as this stays the same."""
        return self._queue.looked

    def of(self, job_id: UUID) -> Place:
        """Where a job stood then."""
        return self._queue.seen([job_id])[job_id]

    async def fresh(self) -> None:
        """Returns when what is seen is fresh, or is being looked at by somebody else."""
        self._is_wanted = True
        if self._queue.is_fresh:
            return
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(LOOK_S), context=Context())
        elif self.looked != NEVER:
            return
        await asyncio.shield(self._looking)

    async def keep_fresh(self) -> None:
        """Looks ahead while somebody asks, so that no change waits for a look."""
        if self._is_wanted and self._looking is None:
            self._is_wanted = False
            self._looking = asyncio.create_task(self._look(LOOK_S / 2))
            await asyncio.shield(self._looking)

    async def _look(self, age_s: float) -> None:
        try:
            await self._run(lambda: self._queue.renew(age_s))
        finally:
            self._looking = None
