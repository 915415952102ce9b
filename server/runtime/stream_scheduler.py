"""Turns of streams: a limited number of streams write at once, in the order of their requests.

grpc.aio accepts one call in each iteration of the event loop. If thousands of streams write or open
at once, an iteration takes seconds, and gRPC's core ends new calls that wait. So only a few streams
work at once, only one while new calls arrive, and that one pauses while they arrive in a burst.

Calls whose callers do not read are reset. grpc.aio has no function for that. A status waits behind
a message that cannot be sent as long as the connection lives; so the call keeps its tasks and its
memory. gRPC's core resets a call once no object refers to it. The last reference belongs to a task
of grpc.aio that waits for the end of the call. `reset_streams` cancels that task.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import structlog

# The maximum number of streams that work at once, and the maximum while new calls arrive.
MOST, MOST_BESIDE_CALLS = 16, 1
# While calls wait in gRPC's core and one stream works, the next one is accepted within this many
# seconds.
CALLS_S = 0.003
# Two calls within this many seconds are a burst. During it a stream gets a turn only this many
# seconds after the turn before.
BURST_S, PAUSE_S = 0.002, 0.002
# A stream that works longer waits for its reader, not for this process. It is no longer counted.
SLOW_S = 0.01


_Waiter = tuple[asyncio.Future[bool], object]


class StreamScheduler:
    """Grants turns to the streams of one event loop."""

    def __init__(
        self,
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._most = most
        # Streams that open take precedence over streams that continue.
        self._opening: deque[_Waiter] = deque()
        self._waiting: deque[_Waiter] = deque()
        # The time at which each holder got its turn, the oldest first.
        self._holders: dict[object, float] = {}
        # Calls may wait in gRPC's core until `_calls_until`, and longer if more streams work.
        self._is_beside_calls = False
        self._called = self._calls_until = self._turn_at = float("-inf")
        self._pause_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def call_came(self) -> None:
        """Record a new call: until CALLS_S seconds have passed, fewer streams get a turn."""
        now = self._clock()
        self._pause_s = PAUSE_S if now - self._called < BURST_S else 0.0
        self._called, self._calls_until = now, now + CALLS_S
        self._is_beside_calls = True

    async def begin(self, holder: object, *, is_opening: bool = False) -> None:
        """Return when `holder` has a turn. `is_opening`: take precedence over open streams.

        The caller must call `end` afterwards, also after an error.
        """
        if not self._opening and not self._waiting and self._has_room():
            self._grant(holder)
            return
        turn = asyncio.get_running_loop().create_future()
        (self._opening if is_opening else self._waiting).append((turn, holder))
        self._set_timer()
        await turn

    def queue(self, holder: object, turn: asyncio.Future[bool]) -> None:
        """Set the result of `turn` to True when `holder` has a turn, unless `turn` is done by then.

        A waiting stream needs no task of its own, so thousands of them cost little.
        """
        self._waiting.append((turn, holder))
        self._give()

    def end(self, holder: object) -> None:
        """End the turn of `holder`, if it still has one, and grant the next."""
        if self._is_beside_calls and len(self._holders) > MOST_BESIDE_CALLS:
            # Beside so many streams the next call could not be accepted yet.
            self._calls_until = self._clock() + CALLS_S
        self._holders.pop(holder, None)
        self._give()

    def _grant(self, holder: object) -> None:
        self._holders[holder] = self._turn_at = self._clock()

    def _has_room(self) -> bool:
        now = self._clock()
        if self._is_beside_calls:
            if self._is_full(MOST_BESIDE_CALLS, now):
                return False
            if now < self._calls_until:
                return now >= self._turn_at + self._pause_s
            self._is_beside_calls = False
        return not self._is_full(self._most, now)

    def _is_full(self, most: int, now: float) -> bool:
        if len(self._holders) >= most:
            for holder, begun in list(self._holders.items()):
                if now - begun <= SLOW_S:
                    break
                del self._holders[holder]
        return len(self._holders) >= most

    def _give(self) -> None:
        while (queue := self._opening or self._waiting) and self._has_room():
            turn, holder = queue.popleft()
            # A stream that has ended meanwhile needs no turn.
            if not turn.done():
                self._grant(holder)
                turn.set_result(True)
        if queue:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None:
            delay_s = self._pause_s if self._is_beside_calls and self._pause_s else SLOW_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        """Revoke turns that last too long, and end pauses, even if no other event occurs."""
        self._timer = None
        self._give()


log: structlog.stdlib.BoundLogger = structlog.get_logger()

# grpc.aio gives this name to the task that starts the task of a call and waits for the call's end.
KEEPER = "rpc_task"


def reset_streams(calls: Collection[asyncio.Task[Any]]) -> None:
    """Reset calls, given the tasks of their methods. The callers get CANCELLED.

    The connections and their other streams continue. grpc.aio itself refers to the newest call, so
    that call is reset only when the next one arrives.
    """
    keepers = _keepers_of(calls)
    if len(keepers) < len(calls):
        log.error("streams not reset: grpc.aio has changed")
    for task in (*keepers, *calls):
        task.cancel()


def _keepers_of(calls: Collection[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return the tasks that have one of `calls` among the local variables of their coroutine.

    One search serves all calls: with thousands of streams it takes tens of milliseconds.
    """
    wanted = {id(call) for call in calls}
    return [
        task
        for task in asyncio.all_tasks()
        if task.get_name() == KEEPER and not wanted.isdisjoint(map(id, _locals_of(task)))
    ]


def _locals_of(task: asyncio.Task[Any]) -> list[Any]:
    return gc.get_referents(*gc.get_referents(task.get_coro()))
