"""Questions of many callers, answered by one reading: 5,000 who ask at once cost as much as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RequestCoalescer(Generic[K, V]):
    """Reads what was asked for while the last reading was under way, all of it in one go.

    An answer is never older than its question: who asks during a reading waits for the next one.
    """

    def __init__(self, read: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._submitted: dict[K, asyncio.Future[V | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """What there is under `key`; None without. Raises what the reading raised."""
        # Shielded: one who leaves must not take the answer away from the others.
        return await asyncio.shield(self.ask(key))

    def ask(self, key: K) -> asyncio.Future[V | None]:
        """The same for who need not wait. It is cancelled only by who is alone with his key."""
        answer = self._submitted.get(key)
        if answer is None:
            answer = self._submitted[key] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_retrieved)
            if self._reading is None:
                # In a context of its own: it is not the work of the one who asked first.
                self._reading = asyncio.create_task(self._read_all(), context=Context())
        return answer

    async def settled(self) -> None:
        """Returns when nothing that was asked is still to be answered."""
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
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            for answer in submitted.values():
                if not answer.cancelled():
                    answer.set_exception(error)
        else:
            for key, answer in submitted.items():
                if not answer.cancelled():
                    answer.set_result(found.get(key))


def _retrieved(answer: asyncio.Future[V | None]) -> None:
    # Everybody who asked may have left; then nobody is there to be told.
    if not answer.cancelled():
        answer.exception()
