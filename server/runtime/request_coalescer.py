"""Request coalescing: one reading serves all concurrent requests, so 5,000 cost as much as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RequestCoalescer(Generic[K, V]):
    """Reads all keys that were requested during the previous reading in one batch.

    An answer is never older than its request: a request during a reading waits for the next one.
    """

    def __init__(self, read: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._submitted: dict[K, asyncio.Future[V | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return the value of `key`, None if it has none. Raises what the reading raised."""
        # Shielded: a cancelled caller must not cancel the future that other callers share.
        return await asyncio.shield(self.ask(key))

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """Return a future with the value of `key`, which all callers of the key share.

        Only the sole caller of a key may cancel it.
        """
        answer = self._submitted.get(key)
        if answer is None:
            answer = self._submitted[key] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_retrieved)
            if self._reading is None:
                # An empty context: the reading does not belong to the call that started it.
                self._reading = asyncio.create_task(self._read_all(), context=Context())
        return answer

    async def settled(self) -> None:
        """Return when every request is answered."""
        while self._reading is not None:
            await asyncio.shield(self._reading)

    async def _read_all(self) -> None:
        try:
            while self._submitted:
                submitted, self._submitted = self._submitted, {}
                await self._answer(submitted)
        finally:
            self._reading = None

    async def _answer(self, submitted: dict[K, asyncio.Future[V | None]]) -> None:
        try:
            found = await self._read(list(submitted))
        except Exception as error:  # noqa: BLE001 - every caller gets it
            for answer in submitted.values():
                if not answer.cancelled():
                    answer.set_exception(error)
        else:
            for key, answer in submitted.items():
                if not answer.cancelled():
                    answer.set_result(found.get(key))


def _retrieved(answer: asyncio.Future[V | None]) -> None:
    # If all callers were cancelled, no caller reads the error; reading it here avoids a warning.
    if not answer.cancelled():
        answer.exception()
