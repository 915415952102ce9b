"""Test the stream scheduler: few streams work at once, in order, and none blocks the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from server.runtime.stream_scheduler import BURST_S, CALLS_S, MOST, PAUSE_S, StreamScheduler

Scenario = Callable[[StreamScheduler], Awaitable[None]]


class Clock:
    """A clock that stands still until a test starts it: until then no turn lasts too long."""

    def __init__(self) -> None:
        self.is_running = False

    def __call__(self) -> float:
        return time.monotonic() if self.is_running else 0.0


def _run(scenario: Scenario, most: int = MOST, clock: Callable[[], float] | None = None) -> None:
    async def run() -> None:
        async with asyncio.timeout(60):
            await scenario(StreamScheduler(most=most, clock=clock or Clock()))

    asyncio.run(run())


async def _begun(turns: StreamScheduler, order: list[str], name: str, **options: bool) -> None:
    await turns.begin(name, **options)
    order.append(name)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_so_many_work_at_once_and_the_next_begins_when_one_ends() -> None:
    async def scenario(turns: StreamScheduler) -> None:
        order: list[str] = []
        tasks = [asyncio.create_task(_begun(turns, order, name)) for name in "abcd"]
        await _settle()
        assert order == ["a", "b"]
        turns.end("a")
        await _settle()
        assert order == ["a", "b", "c"]
        turns.end("c")
        turns.end("b")
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c", "d"]

    _run(scenario, most=2)


def test_streams_that_open_come_first_in_their_order() -> None:
    async def scenario(turns: StreamScheduler) -> None:
        order: list[str] = []
        await turns.begin("first")
        tasks = [asyncio.create_task(_begun(turns, order, name)) for name in "ab"]
        tasks += [asyncio.create_task(_begun(turns, order, name, is_opening=True)) for name in "xy"]
        await _settle()
        for name in ("first", "x", "y", "a", "b"):
            turns.end(name)
            await _settle()
        await asyncio.gather(*tasks)
        assert order == ["x", "y", "a", "b"]

    _run(scenario, most=1)


def test_a_stream_that_waits_for_its_reader_delays_no_other() -> None:
    async def scenario(turns: StreamScheduler) -> None:
        for number in range(10):
            # None of these streams ever ends.
            await turns.begin(number)

    _run(scenario, most=1, clock=time.monotonic)


def test_one_that_leaves_while_it_waits_takes_no_turn() -> None:
    async def scenario(turns: StreamScheduler) -> None:
        order: list[str] = []
        await turns.begin("first")
        leaves = asyncio.create_task(_begun(turns, order, "leaves"))
        stays = asyncio.create_task(_begun(turns, order, "stays"))
        await _settle()
        leaves.cancel()
        turns.end("first")
        await stays
        assert order == ["stays"]
        with pytest.raises(asyncio.CancelledError):
            await leaves

    _run(scenario, most=1)


def test_while_calls_come_in_one_stream_works_at_a_time() -> None:
    async def scenario(turns: StreamScheduler) -> None:
        order: list[str] = []
        turns.call_came()
        tasks = [asyncio.create_task(_begun(turns, order, str(i))) for i in range(3)]
        await asyncio.sleep(0)
        assert order == ["0"]
        # Afterwards as many as before.
        clock.is_running = True
        await asyncio.gather(*tasks)

    assert MOST > 1
    clock = Clock()
    _run(scenario, clock=clock)


def test_of_those_that_have_news_at_once_so_many_are_woken_as_there_are_turns() -> None:
    async def scenario(turns: StreamScheduler) -> None:
        loop = asyncio.get_running_loop()
        wakes: list[asyncio.Future[bool]] = [loop.create_future() for _ in range(100)]
        # A stream that became due for a heartbeat meanwhile needs no slot.
        wakes[2].set_result(False)
        for number, wake in enumerate(wakes):
            turns.queue(number, wake)
        assert [number for number, wake in enumerate(wakes) if wake.done()] == [0, 1, 2]

        turns.end(0)
        assert wakes[3].result()
        # A stream that never ends delays no other.
        clock.is_running = True
        await asyncio.gather(*wakes)

    clock = Clock()
    _run(scenario, most=2, clock=clock)


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _ready(turns: StreamScheduler, count: int) -> list[asyncio.Future[bool]]:
    """Queue streams that have news. Each of the first that has a turn has its future done."""
    loop = asyncio.get_running_loop()
    wakes: list[asyncio.Future[bool]] = [loop.create_future() for _ in range(count)]
    for number, wake in enumerate(wakes):
        turns.queue(number, wake)
    return wakes


def _working(wakes: list[asyncio.Future[bool]]) -> list[int]:
    return [number for number, wake in enumerate(wakes) if wake.done()]


def test_the_time_in_which_calls_may_wait_begins_when_one_stream_works() -> None:
    clock = ManualClock()

    async def scenario(turns: StreamScheduler) -> None:
        wakes = _ready(turns, 6)
        assert _working(wakes) == [0, 1, 2]
        turns.call_came()
        # Until these have ended, no further call could be accepted, so their time does not count.
        for number in (0, 1):
            clock.now += CALLS_S
            turns.end(number)
        assert _working(wakes) == [0, 1, 2]
        turns.end(2)
        assert _working(wakes) == [0, 1, 2, 3]
        clock.now += CALLS_S
        turns.end(3)
        assert _working(wakes) == [0, 1, 2, 3, 4, 5]

    _run(scenario, most=3, clock=clock)


def test_in_a_burst_of_calls_a_stream_pauses_before_the_next_turn() -> None:
    clock = ManualClock()

    async def scenario(turns: StreamScheduler) -> None:
        for _ in range(2):
            turns.call_came()
        wakes = _ready(turns, 3)
        turns.end(0)
        assert _working(wakes) == [0]
        clock.now += PAUSE_S
        turns.end(0)
        assert _working(wakes) == [0, 1]

    _run(scenario, most=3, clock=clock)


def test_calls_that_are_no_burst_cost_no_pause() -> None:
    clock = ManualClock()

    async def scenario(turns: StreamScheduler) -> None:
        turns.call_came()
        clock.now += 2 * BURST_S
        turns.call_came()
        wakes = _ready(turns, 3)
        turns.end(0)
        assert _working(wakes) == [0, 1]

    _run(scenario, most=3, clock=clock)
