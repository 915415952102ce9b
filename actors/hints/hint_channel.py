"""How hints go through Valkey: to the leading scheduler in a capped list, to all workers in a
channel. Every hint may be lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.hints.hint_codec import decode, encode
from actors.hints.hints import Hint

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


def halt_channel(client: redis.Redis) -> str:
    """Return the name of the channel that `HintSender.halt` publishes to.

    Channels belong to all databases of a Valkey, so it names the client's own.
    """
    return f"autos:halts:{client.get_connection_kwargs().get('db', 0)}"


class HintSender:
    """Sends hints, one round trip at a time. Thread-safe; never raises; open it after a fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._quiet_until = -math.inf
        self._lock = threading.Lock()
        self._pending: list[str] = []
        self._is_sending = False
        # Names this sender in what it publishes.
        self.sender_id = uuid4().hex

    def send(self, *hints: Hint) -> None:
        """Send hints, unless Valkey failed a moment ago.

        While another thread sends, that thread sends these hints, too, right afterwards.
        """
        texts = [encode(hint) for hint in hints]
        with self._lock:
            self._pending += texts
            if self._is_sending:
                return
            self._is_sending = True
        while pending := self._take_pending():
            self._execute(partial(self._push, pending))

    def halt(self, scope: str) -> None:
        """Have all workers begin no further request of the slices that they hold in `scope`: a
        job's id, a court, or PORTAL. Call it after the COMMIT of what stops them.
        """
        text = f"{self.sender_id} {scope}"
        self._execute(lambda: self._client.publish(halt_channel(self._client), text))

    def _take_pending(self) -> list[str]:
        with self._lock:
            pending, self._pending = self._pending, []
            self._is_sending = bool(pending)
        return pending

    def _push(self, texts: Sequence[str]) -> None:
        if int(self._client.rpush(KEY, *texts)) > MAX_HINTS:
            self._client.ltrim(KEY, -MAX_HINTS, -1)

    def _execute(self, call: Callable[[], object]) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            call()
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
