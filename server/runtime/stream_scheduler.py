"""Which streams work now: so many at a time, in the order in which they asked.

grpc.aio accepts one call in an iteration of the event loop. Thousands of streams that all have
something to write, or that all open, would make each iteration take seconds, and new calls would
wait until gRPC's core ends them. So few streams work at once, and one while calls come in.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

# How many streams work at once, and how many while new calls come in.
MOST, MOST_BESIDE_CALLS = 32, 1
# While calls wait in gRPC's core, the next one comes within so long.
CALLS_S = 0.003
# What takes longer waits for the other end, and takes no time of this process: it counts no more.
SLOW_S = 0.01


_Waiter = tuple[asyncio.Future[bool], object]


class StreamScheduler:
    """Gives out turns, all of them in one event loop."""

    def __init__(self, *, most: int = MOST, most_beside_calls: int = MOST_BESIDE_CALLS) -> None:
        self._most = most
        self._most_beside_calls = most_beside_calls
        # Those that open come before those that go on.
        self._opening: deque[_Waiter] = deque()
        self._waiting: deque[_Waiter] = deque()
        # When each holder of a turn got it, the oldest first.
        self._holders: dict[object, float] = {}
        self._calls_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def call_came(self) -> None:
        """Let new calls go before streams for a moment."""
        self._calls_until = time.monotonic() + CALLS_S

    async def begin(self, holder: object, *, is_opening: bool = False) -> None:
        """Return when `holder` may work. `is_opening`: before streams that are open already.

        What begins is to be ended, however it goes.
        """
        if not self._opening and not self._waiting and self._has_room():
            self._holders[holder] = time.monotonic()
            return
        turn = asyncio.get_running_loop().create_future()
        (self._opening if is_opening else self._waiting).append((turn, holder))
        self._set_timer()
        await turn

    def queue(self, holder: object, turn: asyncio.Future[bool]) -> None:
        """Set the result of `turn` to True when `holder` may work; not if it has one by then.

        For thousands that have news in the same moment: those that wait cost next to nothing.
        """
        self._waiting.append((turn, holder))
        self._give()

    def end(self, holder: object) -> None:
        """Give the turn of `holder` to the next, unless it is over already."""
        self._holders.pop(holder, None)
        self._give()

    def _has_room(self) -> bool:
        now = time.monotonic()
        most = self._most_beside_calls if now < self._calls_until else self._most
        if len(self._holders) < most:
            return True
        for holder, begun in list(self._holders.items()):
            if now - begun <= SLOW_S:
                break
            del self._holders[holder]
        return len(self._holders) < most

    def _give(self) -> None:
        while (queue := self._opening or self._waiting) and self._has_room():
            turn, holder = queue.popleft()
            # One that has left meanwhile wants no turn.
            if not turn.done():
                self._holders[holder] = time.monotonic()
                turn.set_result(True)
        if queue:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLOW_S, self._look)

    def _look(self) -> None:
        """Take turns back that last too long: nothing else would."""
        self._timer = None
        self._give()
