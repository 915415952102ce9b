"""Test calls that wait for locked rows: how many threads they have, and when they give up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from server.runtime.fair_executor import WAITING_THREADS, RowWaits
from storage.errors import NotFound, RowsLocked

PATIENCE_S = 60.0


class _Pool:
    """Runs calls and counts those under way. A call finds its rows locked until `free` is set."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.threads = self.peak = self.refusals = 0

    async def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        self.threads += 1
        self.peak = max(self.peak, self.threads)
        try:
            # All calls that have a thread by now are under way together.
            await asyncio.sleep(0)
            if not self.free.is_set():
                self.refusals += 1
                raise RowsLocked("PostgreSQL")
            return call(*args)
        finally:
            self.threads -= 1


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


def test_of_calls_that_wait_for_one_row_one_has_a_thread_and_all_are_answered() -> None:
    async def scenario() -> tuple[list[int], int]:
        pool = _Pool()
        waits = RowWaits(pool)
        calls = [asyncio.create_task(waits.run("job", lambda n: n, n)) for n in range(50)]
        await _until(lambda: pool.refusals > 2)
        pool.free.set()
        return await asyncio.gather(*calls), pool.peak

    assert asyncio.run(scenario()) == (list(range(50)), 1)


def test_calls_that_found_their_rows_locked_have_few_threads() -> None:
    async def scenario() -> tuple[int, int]:
        pool = _Pool()
        waits = RowWaits(pool)
        calls = [asyncio.create_task(waits.run(n, int)) for n in range(50)]
        await _until(lambda: pool.refusals == 50)
        first, pool.peak = pool.peak, 0
        await _until(lambda: pool.refusals > 100)
        pool.free.set()
        await asyncio.gather(*calls)
        return first, pool.peak

    first, later = asyncio.run(scenario())
    assert first == 50
    assert later <= WAITING_THREADS


def test_a_call_whose_rows_stay_locked_gives_up_and_so_do_those_behind_it() -> None:
    async def scenario() -> list[Any]:
        waits = RowWaits(_Pool(), limit_s=0.2)
        calls = [waits.run("job", int) for _ in range(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(scenario())] == [RowsLocked] * 3


def test_an_error_or_a_caller_that_leaves_stops_no_other_call() -> None:
    def fail() -> None:
        raise NotFound("job", "1")

    async def scenario() -> int:
        pool = _Pool()
        waits = RowWaits(pool)
        gone = asyncio.create_task(waits.run("job", int))
        await _until(lambda: pool.refusals > 0)
        failing = asyncio.create_task(waits.run("job", fail))
        third = asyncio.create_task(waits.run("job", lambda: 3))
        gone.cancel()
        pool.free.set()
        with pytest.raises(NotFound):
            await failing
        answer: int = await third
        return answer

    assert asyncio.run(scenario()) == 3
