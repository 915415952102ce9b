"""The threads for blocking work of calls: clients take turns, and long pages have their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from server.access.current_client import current_client, has_client
from server.runtime.fair_executor import FairExecutor

P = ParamSpec("P")
T = TypeVar("T")

# A page of more items is long: it takes the interpreter, which all threads share, for tens of
# milliseconds.
SHORT_PAGE = 100


class CallThreads:
    """Runs the blocking work of calls on `pool`. For the event loop's thread only.

    `threads`: those of the pool. `share`: the most of them that work for one client.
    `page_threads`: those of them that read long pages, each for another client.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, *, threads: int, share: int, page_threads: int
    ) -> None:
        self._short = FairExecutor(pool, threads=threads - page_threads, share=share)
        self._long = FairExecutor(pool, threads=page_threads, share=1)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` on a thread when it is the turn of the present call's client."""
        return await _run_on(self._short, partial(call, *args, **kwargs))

    async def read_page(
        self, size: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same for `size` items. A client's long pages are read one after the other."""
        threads = self._long if size > SHORT_PAGE else self._short
        return await _run_on(threads, partial(read, *args, **kwargs))


async def _run_on(threads: FairExecutor, call: Callable[[], T]) -> T:
    client = current_client().name if has_client() else None
    # The copied context gives the log lines of the thread the bindings of the call.
    return await threads.run(client, partial(copy_context().run, call))
