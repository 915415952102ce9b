"""Send hints through Valkey: a capped list for the leading scheduler, a channel for all workers.

Every hint may be lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import uuid4

import redis

from actors.hints.hints import Hint, decode, encode
from storage.valkey import connect

KEY = "autos:hints"
# Older hints are dropped: the rows contain the same facts.
MAX_HINTS = 10_000
# The most hints that one receive returns, so that a pass stays short.
BATCH = 1_000
TIMEOUT_S = 0.5
# Seconds without another send after a failure: senders may hold leases.
QUIET_S = 2.0


def make_client(redis_url: str, *, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """Return a client that fails within `timeout_s` seconds and never retries."""
    return connect(redis_url, timeout_s=timeout_s)


def halt_channel(client: redis.Redis) -> str:
    """Return the name of the channel that `HintSender.halt` publishes to.

    All databases of a Valkey share their channels, so the name contains the client's database.
    """
    return f"autos:halts:{client.get_connection_kwargs().get('db', 0)}"


class HintSender:
    """Send hints, one round trip at a time. Thread-safe; never raises. Open it after a fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._quiet_until = -math.inf
        self._lock = threading.Lock()
        self._pending: list[str] = []
        self._is_sending = False
        # The id of this sender in its published messages.
        self.sender_id = uuid4().hex

    def send(self, *hints: Hint) -> None:
        """Send hints, unless Valkey failed less than QUIET_S ago.

        If another thread is sending, that thread also sends these hints, right afterwards.
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
        """Publish that no worker may begin further requests in `scope`.

        `scope`: a job's id, a court, or PORTAL. Workers stop the slices that they hold. Call this
        after the COMMIT of the change that stops them.
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
    """Take hints from the list, for the leading scheduler."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def receive(self, wait_s: float) -> list[Hint]:
        """Return the hints in the list. Wait up to `wait_s` seconds for the first.

        Raises redis.RedisError.
        """
        texts = self._pop()
        if not texts and wait_s > 0:
            # In Redis, a wait of 0 has no end.
            first = self._client.blpop([KEY], max(0.001, wait_s))
            texts = [first[1], *self._pop()] if first else []
        hints = (decode(text) for text in texts)
        return [hint for hint in hints if hint is not None]

    def _pop(self) -> list[str | bytes]:
        popped = self._client.lpop(KEY, BATCH)
        return popped if isinstance(popped, list) else []
