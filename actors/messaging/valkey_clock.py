"""The time of Valkey's clock, which the scheduler and all workers share."""

from __future__ import annotations

import threading
import time

import redis

# Seconds after which the offset to the local clock is measured again.
MEASURE_S = 10.0


class ValkeyClock:
    """Milliseconds since 1970 by Valkey's clock. Thread-safe.

    If Valkey is unavailable, the last measured offset is used, or the local clock without one.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._offset_s = time.time() - time.monotonic()
        self._measured_at = -MEASURE_S

    def now_ms(self) -> int:
        """Return the time. Makes a round trip once in MEASURE_S."""
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_S:
            self._measure(now)
        return round((time.monotonic() + self._offset_s) * 1000)

    def _measure(self, now: float) -> None:
        with self._lock:
            if now - self._measured_at < MEASURE_S:
                return
            self._measured_at = now
            try:
                seconds, microseconds = self._client.time()
            except redis.RedisError:
                return
            middle = (now + time.monotonic()) / 2
            self._offset_s = seconds + microseconds / 1e6 - middle
