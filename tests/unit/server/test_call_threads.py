"""Test that long pages do not occupy the threads of other calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

from server.access.authentication import set_current_client
from server.rpc.service_base import SHORT_PAGE, CallThreads
from storage.clients.client_registry import CallingClient

DEADLINE_S = 60.0
THREADS, SHARE, PAGE_THREADS = 5, 2, 2


def _as_client(name: str, call: Callable[[], Coroutine[Any, Any, str]]) -> asyncio.Task[str]:
    """Run a call of a client in a task of its own."""
    context = Context()
    context.run(set_current_client, CallingClient(name))
    return asyncio.get_running_loop().create_task(call(), context=context)


def test_a_client_reads_one_long_page_at_a_time_and_other_calls_go_on() -> None:
    begun: list[str] = []
    may_end = threading.Event()

    def held(name: str) -> str:
        begun.append(name)
        may_end.wait(DEADLINE_S)
        return name

    async def until_begun(*names: str) -> None:
        while len(begun) < len(names):
            await asyncio.sleep(0.001)
        assert sorted(begun) == sorted(names)

    async def scenario(pool: ThreadPoolExecutor) -> None:
        threads = CallThreads(pool, threads=THREADS, share=SHARE, page_threads=PAGE_THREADS)
        long, short = SHORT_PAGE + 1, SHORT_PAGE
        pages = [
            *(_as_client("a", lambda: threads.read_page(long, held, "a long")) for _ in range(3)),
            *(_as_client(name, lambda: threads.read_page(long, held, "b long")) for name in "bc"),
        ]
        await until_begun("a long", "b long")
        calls = [
            *(_as_client("a", lambda: threads.read_page(short, held, "a short")) for _ in range(3)),
            _as_client("b", lambda: threads.run(held, "b call")),
        ]
        await until_begun("a long", "b long", "a short", "a short", "b call")
        may_end.set()
        await asyncio.gather(*pages, *calls)
        assert len(begun) == len(pages) + len(calls)

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            asyncio.run(scenario(pool))
        finally:
            may_end.set()


def test_work_of_the_process_itself_has_no_share() -> None:
    is_together = threading.Barrier(THREADS - PAGE_THREADS)

    async def scenario(pool: ThreadPoolExecutor) -> None:
        threads = CallThreads(pool, threads=THREADS, share=1, page_threads=PAGE_THREADS)
        waits = (threads.run(is_together.wait, DEADLINE_S) for _ in range(is_together.parties))
        await asyncio.gather(*waits)

    with ThreadPoolExecutor(THREADS) as pool:
        asyncio.run(scenario(pool))
