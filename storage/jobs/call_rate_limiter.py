"""The limits of calls per client and minute, over all server processes.

Redis holds a token bucket for each client and kind of call. The bucket holds the tokens of one
minute and fills evenly. A process takes a hundredth of them at a time, so that most calls need no
Redis command. Without Redis, each process enforces the limit by itself, with its own bucket.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis

from storage.errors import LimitReached, ServiceRefused
from storage.logs import OutageLog
from storage.valkey import PART, connect, meaning

TIMEOUT_S = 0.5
# Seconds without another Redis command after a failure.
QUIET_S = 2.0
MINUTE_MS = 60_000
# The operation in the log. While Valkey refuses it, the limits count by process.
OPERATION = "limits of calls"
# Stores the time at which the bucket will be full again. Returns how many tokens were taken and, if
# none was, in how many milliseconds one will be there.
#
# At least `least` tokens are taken, or none. More than a full bucket has are taken from a full one:
# the bucket is full again after that much more time.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local each, least, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local needed = math.min(least, math.floor(60000 / each + 0.000001))
local there = math.floor((now + 60000 - full) / each + 0.000001)
if there < needed then return {0, math.ceil(full + needed * each - 60000 - now)} end
local taken = math.max(least, math.min(most, there))
full = full + taken * each
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now) + 1000)
return {taken, 0}
"""


@dataclass(frozen=True, slots=True)
class CallRate:
    """A kind of calls that is counted by the minute.

    `key`: its part of the key in Redis. `limit_name`: the limit's name in LIMITS.
    """

    key: str
    limit_name: str


STARTS = CallRate("starts", "starts_per_minute")
REPEATS = CallRate("repeats", "repeats_per_minute")


@dataclass(slots=True)
class _Share:
    """Tokens that this process has taken and not used, and its own bucket if Redis is down."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    left: int = 0
    full_at_ms: float = 0.0


class CallRateLimiter:
    """Counts the calls of one kind. Thread-safe. `clock`: monotonic seconds."""

    def __init__(
        self,
        redis_url: str,
        rate: CallRate = STARTS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        client = connect(redis_url, timeout_s=TIMEOUT_S)
        self._take = client.register_script(_TAKE)
        self._clock = clock
        self._quiet_until = 0.0
        self._lock = threading.Lock()
        self._shares: dict[str, _Share] = {}
        self._outages = OutageLog(PART)

    def count(self, client: str, per_minute: int, calls: int = 1) -> None:
        """Count `calls` calls of `client`, all of them or none. Raises LimitReached.

        More calls than a minute has are possible if there was none within the last minute. The
        next call is then possible after that much more time.
        """
        with self._lock:
            share = self._shares.setdefault(client, _Share())
        with share.lock:
            share.left = min(share.left, _portion(per_minute))
            missing = calls - share.left
            taken, wait_ms = 0, 0.0
            if missing > 0:
                taken, wait_ms = self._more(client, share, per_minute, missing)
            if taken >= missing:
                share.left += taken - calls
                return
        raise LimitReached(
            self._rate.limit_name, client, per_minute, retry_in_s=max(1, wait_ms) / 1000
        )

    def _more(self, client: str, share: _Share, per_minute: int, least: int) -> tuple[int, float]:
        """Return how many more calls this process may accept, `least` or more.

        If it may not, return 0 and the wait for them in ms.
        """
        each_ms = MINUTE_MS / per_minute
        if self._clock() >= self._quiet_until:
            try:
                taken, wait_ms = self._take(
                    keys=[f"autos:{self._rate.key}:{client}"],
                    args=[each_ms, least, _portion(per_minute)],
                )
            except redis.RedisError as error:
                self._quiet_until = self._clock() + QUIET_S
                refused = meaning(error)
                # An outage is logged by the part that waits for notifications.
                if isinstance(refused, ServiceRefused):
                    self._outages.failed(OPERATION, refused)
            else:
                self._outages.succeeded(OPERATION)
                return int(taken), float(wait_ms)
        return _take_here(share, each_ms, self._clock() * 1000, least)


def _portion(per_minute: int) -> int:
    return max(1, per_minute // 100)


def _take_here(share: _Share, each_ms: float, now_ms: float, least: int) -> tuple[int, float]:
    begun_ms = max(now_ms, share.full_at_ms)
    # A whole bucket is enough for any number.
    needed_ms = min(least * each_ms, MINUTE_MS)
    if begun_ms + needed_ms > now_ms + MINUTE_MS:
        return 0, begun_ms + needed_ms - MINUTE_MS - now_ms
    share.full_at_ms = begun_ms + least * each_ms
    return least, 0.0
