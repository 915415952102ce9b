"""Test the coalescer: requests that arrive during a reading are read together, each key once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from server.runtime.request_coalescer import RequestCoalescer


class _Reader:
    """A reader that answers each key with its double when the test allows it."""

    def __init__(self) -> None:
        self.read: list[list[int]] = []
        self.going = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: list[int]) -> Mapping[int, int]:
        self.read.append(keys)
        await self.going.wait()
        if self.error:
            raise self.error
        return {key: 2 * key for key in keys if key}


def _in_loop(test: Callable[[_Reader, RequestCoalescer[int, int]], Awaitable[None]]) -> None:
    async def run() -> None:
        reader = _Reader()
        await test(reader, RequestCoalescer(reader))

    asyncio.run(asyncio.wait_for(run(), 60))


async def _turn() -> None:
    """Let every task run that can continue."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_requests_during_a_reading_are_read_together_afterwards() -> None:
    async def test(reader: _Reader, batches: RequestCoalescer[int, int]) -> None:
        first = asyncio.create_task(batches.get(1))
        await _turn()
        later = [asyncio.create_task(batches.get(key)) for key in (2, 3, 2, 0)]
        await _turn()
        reader.going.set()
        assert await first == 2
        assert await asyncio.gather(*later) == [4, 6, 4, None]
        assert reader.read == [[1], [2, 3, 0]]

    _in_loop(test)


def test_a_cancelled_caller_takes_no_answer_from_others() -> None:
    async def test(reader: _Reader, batches: RequestCoalescer[int, int]) -> None:
        leaving, staying = (asyncio.create_task(batches.get(1)) for _ in range(2))
        await _turn()
        leaving.cancel()
        await _turn()
        reader.going.set()
        assert await staying == 2
        assert leaving.cancelled()

    _in_loop(test)


@pytest.mark.parametrize("error", [None, ValueError("anything")])
def test_a_lone_caller_that_is_cancelled_does_no_harm(error: Exception | None) -> None:
    async def test(reader: _Reader, batches: RequestCoalescer[int, int]) -> None:
        async def alone(key: int) -> int | None:
            return await batches.ask(key)

        reader.error = error
        # Two keys are being read, two wait for the next reading: one caller of each leaves.
        reading = [asyncio.create_task(alone(key)) for key in (1, 2)]
        await _turn()
        waiting = [asyncio.create_task(alone(key)) for key in (3, 4)]
        await _turn()
        reading[0].cancel()
        waiting[0].cancel()
        await _turn()
        reader.going.set()
        answers = await asyncio.gather(reading[1], waiting[1], return_exceptions=True)
        assert list(answers) == ([error] * 2 if error else [4, 8])
        assert reader.read == [[1, 2], [3, 4]]

    _in_loop(test)
