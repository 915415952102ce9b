"""Test the turns of clients at the thread pool."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.runtime.fair_executor import FairExecutor

DEADLINE_S = 60.0
Scenario = Callable[[FairExecutor, "_Work"], Awaitable[None]]


class _Work:
    """Work that is held until `release`. `begun`: the names of all work that has begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._may_end = threading.Event()

    def do(self, name: str) -> str:
        self.begun.append(name)
        self._may_end.wait(DEADLINE_S)
        return name

    def release(self) -> None:
        self._may_end.set()


def _run(scenario: Scenario, *, threads: int, share: int) -> None:
    async def run() -> None:
        work = _Work()
        with ThreadPoolExecutor(threads) as pool:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await scenario(FairExecutor(pool, threads=threads, share=share), work)
            finally:
                work.release()

    asyncio.run(run())


def _start(executor: FairExecutor, work: _Work, client: str | None, name: str) -> asyncio.Task[str]:
    return asyncio.create_task(executor.run(client, lambda: work.do(name)))


async def _until_begun(work: _Work, count: int) -> None:
    while len(work.begun) < count:
        await asyncio.sleep(0.001)


def test_clients_take_turns_however_much_one_of_them_asks_for() -> None:
    async def scenario(executor: FairExecutor, work: _Work) -> None:
        calls = [_start(executor, work, "a", f"a{number}") for number in range(4)]
        await _until_begun(work, 1)
        calls += [_start(executor, work, "b", f"b{number}") for number in range(2)]
        calls += [_start(executor, work, "c", "c0")]
        await asyncio.sleep(0)
        work.release()

        assert await asyncio.gather(*calls) == ["a0", "a1", "a2", "a3", "b0", "b1", "c0"]
        assert work.begun == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]

    _run(scenario, threads=1, share=1)


def test_one_client_leaves_threads_to_the_next() -> None:
    async def scenario(executor: FairExecutor, work: _Work) -> None:
        many = [_start(executor, work, "a", "a") for _ in range(5)]
        await _until_begun(work, 2)
        others = [_start(executor, work, client, "other") for client in ("b", None)]
        await _until_begun(work, 4)
        assert work.begun == ["a", "a", "other", "other"]
        work.release()
        await asyncio.gather(*many, *others)
        assert len(work.begun) == 7

    _run(scenario, threads=4, share=2)


def test_work_of_the_process_itself_may_use_every_thread() -> None:
    async def scenario(executor: FairExecutor, work: _Work) -> None:
        calls = [_start(executor, work, None, "own") for _ in range(3)]
        await _until_begun(work, 3)
        work.release()
        await asyncio.gather(*calls)

    _run(scenario, threads=3, share=1)


def test_a_cancelled_call_frees_its_turn_when_its_thread_is_free() -> None:
    async def scenario(executor: FairExecutor, work: _Work) -> None:
        running = _start(executor, work, "a", "running")
        await _until_begun(work, 1)
        waiting = _start(executor, work, "a", "waiting")
        last = _start(executor, work, "a", "last")
        await asyncio.sleep(0)
        for call in (running, waiting):
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        # The thread is still at work, so the next call waits.
        assert not last.done()
        assert work.begun == ["running"]
        work.release()
        assert await last == "last"
        assert work.begun == ["running", "last"]

    _run(scenario, threads=1, share=1)


def test_a_call_that_is_cancelled_as_it_gets_its_turn_passes_it_on() -> None:
    async def scenario(executor: FairExecutor, work: _Work) -> None:
        work.release()
        await executor._turn("a")
        second, third = (_start(executor, work, "a", name) for name in ("second", "third"))
        await asyncio.sleep(0)
        # In one step of the loop, before the second call continues.
        executor._end("a")
        second.cancel()

        assert await third == "third"
        assert work.begun == ["third"]

    _run(scenario, threads=1, share=1)


def test_an_error_reaches_the_caller_and_frees_the_turn() -> None:
    async def scenario(executor: FairExecutor, _work: _Work) -> None:
        def fail() -> None:
            raise ValueError("of the work")

        for _ in range(3):
            with pytest.raises(ValueError, match="of the work"):
                await executor.run("a", fail)

    _run(scenario, threads=1, share=1)
