"""The same moment, as near as threads can make it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def rounds(ways: Sized, *, least: int = 60, most: int = 600) -> Iterator[int]:
    """The rounds of a race: `least`, and more, up to `most`, until `ways` tells that it went both.

    How often which side is first depends on the machine and on what else it does.
    """
    for number in range(most):
        if number >= least and len(ways) > 1:
            return
        yield number


def run_concurrently(calls: Sequence[Callable[[], T]], *, timeout_s: float = 60) -> list[T]:
    """What `calls` return, made in a thread each, all begun at once. Raises what one raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(timeout_s)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(run, call) for call in calls]
        return [call.result(timeout_s) for call in running]
