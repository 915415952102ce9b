"""Wake-ups for watchers: "(job, revision)" over Redis pub/sub. A hint; the rows decide.

Nothing here may fail or slow its caller: without Redis watchers poll and find the same.
"""

from __future__ import annotations

import time
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

CHANNEL = "autos:changes"
TIMEOUT_S = 0.5
# After a failure nobody waits for Redis again for this long.
QUIET_S = 2.0


class Wakeups:
    """Announces changes. Thread-safe."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._quiet_until = 0.0

    def announce(self, job_id: UUID, revision: int) -> None:
        """Tells every watching server that `job_id` has reached `revision`."""
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._client.publish(CHANNEL, f"{job_id} {revision}")
        except redis.RedisError:
            self._quiet_until = time.monotonic() + QUIET_S
