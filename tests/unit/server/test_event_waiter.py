"""Test the calls that wait for events: one reading serves all, and none leaves anything behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from server.rpc.event_methods import EventWaiter

CLIENT = "default"


def test_one_reading_serves_all_calls_that_wait() -> None:
    readings: list[Collection[str]] = []

    async def read(clients: Collection[str]) -> Mapping[str, int]:
        readings.append(clients)
        return {CLIENT: len(readings) - 1}

    async def scenario() -> None:
        waiter = EventWaiter(read, interval_s=0.01)
        calls = [asyncio.create_task(waiter.wait(CLIENT, 0, 60)) for _ in range(50)]
        await asyncio.wait(calls)
        assert waiter.count == 0

    asyncio.run(scenario())
    assert readings == [{CLIENT}, {CLIENT}]


def test_a_call_that_is_cancelled_during_a_stop_leaves_no_error() -> None:
    unseen: list[dict[str, Any]] = []

    async def read(_clients: Collection[str]) -> Mapping[str, int]:
        return {}

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, found: unseen.append(found))
        waiter = EventWaiter(read, interval_s=60)
        call = asyncio.create_task(waiter.wait(CLIENT, 0, 60))
        while not waiter.count:
            await asyncio.sleep(0)
        closing = asyncio.create_task(waiter.close())
        # After the stop has set the error, before the call reads it.
        asyncio.get_running_loop().call_soon(call.cancel)
        with suppress(asyncio.CancelledError):
            await call
        await closing

    asyncio.run(scenario())
    # asyncio reports an error that was never read when its future is collected.
    gc.collect()
    assert unseen == []
