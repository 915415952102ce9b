"""Run calls at the same moment, as nearly as threads allow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def rounds(ways: Sized, *, least: int = 60, most: int = 600) -> Iterator[int]:
    """Yield rounds of a race: `least`, then more up to `most`, until both outcomes were seen.

    `ways` has the outcomes so far. Which side is first depends on the machine and its load.
    """
    for number in range(most):
        if number >= least and len(ways) > 1:
            return
        yield number


def run_concurrently(calls: Sequence[Callable[[], T]], *, timeout_s: float = 60) -> list[T]:
    """Run each call in its own thread, all at once; return the results or raise a call's error."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(timeout_s)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(run, call) for call in calls]
        return [call.result(timeout_s) for call in running]
