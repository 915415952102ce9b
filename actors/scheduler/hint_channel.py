"""The list in Valkey by which hints reach the leading scheduler. Capped; every hint may be lost."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.scheduler.hint_codec import decode, encode
from actors.scheduler.policy.hints import Hint

KEY = "autos:hints"
# Older hints are dropped: the rows say the same.
MAX_HINTS = 10_000
# Hints that one receive returns at most, so that a pass stays short.
BATCH = 1_000
TIMEOUT_S = 0.5
# After a failure nothing is sent for this long: senders may hold leases.
QUIET_S = 2.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def make_client(redis_url: str, *, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """Return a client that fails within `timeout_s` seconds and never retries."""
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


class HintSender:
    """Sends hints, one round trip at a time. Thread-safe; never raises; open it after a fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._quiet_until = -math.inf
        self._lock = threading.Lock()
        self._pending: list[str] = []
        self._is_sending = False

    def send(self, *hints: Hint) -> None:
        """Send hints, unless Valkey failed a moment ago.

        While another thread sends, that thread sends these hints, too, right afterwards.
        """
        if not hints or time.monotonic() < self._quiet_until:
            return
        texts = [encode(hint) for hint in hints]
        with self._lock:
            self._pending += texts
            if self._is_sending:
                return
            self._is_sending = True
        while pending := self._take_pending():
            self._push(pending)

    def _take_pending(self) -> list[str]:
        with self._lock:
            pending, self._pending = self._pending, []
            self._is_sending = bool(pending)
        return pending

    def _push(self, texts: Sequence[str]) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            if int(self._client.rpush(KEY, *texts)) > MAX_HINTS:
                self._client.ltrim(KEY, -MAX_HINTS, -1)
        except redis.RedisError:
            self._quiet_until = time.monotonic() + QUIET_S


class HintReceiver:
    """Takes hints from the list, for the one scheduler that leads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def receive(self, wait_s: float) -> list[Hint]:
        """Return the hints that are there, waiting up to `wait_s` seconds for the first.

        Raises redis.RedisError.
        """
        texts = self._pop()
        if not texts and wait_s > 0:
            # A wait of 0 would last for ever.
            first = self._client.blpop([KEY], max(0.001, wait_s))
            texts = [first[1], *self._pop()] if first else []
        hints = (decode(text) for text in texts)
        return [hint for hint in hints if hint is not None]

    def _pop(self) -> list[str | bytes]:
        popped = self._client.lpop(KEY, BATCH)
        return popped if isinstance(popped, list) else []
