"""Dramatiq's Redis broker with a bounded prefetch over all queues of a process, and blocking waits.

Dramatiq counts prefetched messages for each queue apart: a worker whose threads are all busy with
downloads would still take listings and keep them while another process idles. And its consumers
poll. Here an idle consumer waits at Valkey, which wakes it: a message is taken at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

# Before every key of Dramatiq's in Valkey.
NAMESPACE = "autos"

# How long a consumer waits before it shows Redis that it lives, and sees that it is to stop.
IDLE_S = 1.0
# Below this a wait is not worth its name, and 0 would be for ever.
SHORTEST_IDLE_S = 0.005


class BoundedPrefetchConsumer(_RedisConsumer):
    """Counts the messages of all queues of its process. Delayed ones wait without a thread."""

    def __init__(
        self, broker: BoundedPrefetchBroker, queue_name: str, prefetch: int, _timeout: int
    ) -> None:
        # Dramatiq's own waits last no time: `_wait` does instead.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]
        self._due_ms: dict[str, int] = {}

    @property
    def outstanding_message_count(self) -> int:
        """Messages that this process holds and has not finished."""
        own = int(super().outstanding_message_count)
        if self.queue_name not in self.broker.queues:
            return own
        others = (c for c in list(self.broker.consumers) if c is not self)
        return own + sum(len(c.queued_message_ids) + len(c.message_cache) for c in others)

    def __next__(self) -> dramatiq.broker.MessageProxy | None:
        """A message; None after a while without one. Raises ConnectionClosed."""
        if not self.message_cache:
            self._wait()
        with self.broker.fetching:
            message = super().__next__()  # type: ignore[no-untyped-call]
        if message is not None and "eta" in message.options:
            self._due_ms[message.message_id] = message.options["eta"]
        return cast("dramatiq.broker.MessageProxy | None", message)

    def ack(self, message: dramatiq.broker.MessageProxy) -> None:
        """Forget a message that is done."""
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        finally:
            self._let_go(message)

    def nack(self, message: dramatiq.broker.MessageProxy) -> None:
        """Put a message aside that cannot be worked on."""
        try:
            super().nack(message)  # type: ignore[no-untyped-call]
        finally:
            self._let_go(message)

    def _let_go(self, message: dramatiq.broker.MessageProxy) -> None:
        self._due_ms.pop(message.message_id, None)
        with self.broker.room:
            self.broker.room.notify_all()

    def _wait(self) -> None:
        """Return when there may be a message, when a delayed one is due, or after IDLE_S."""
        with self.broker.room:
            if self.outstanding_message_count >= self.prefetch:
                self.broker.room.wait(self._idle_s())
                return
        self._await_message(self._idle_s())

    def _idle_s(self) -> float:
        due_ms = min(list(self._due_ms.values()), default=None)
        if due_ms is None:
            return IDLE_S
        return min(IDLE_S, max(SHORTEST_IDLE_S, (due_ms - current_millis()) / 1000))

    def _await_message(self, wait_s: float) -> None:
        # From the left to the left: the list stays as it is, and the message is fetched as always.
        queue = f"{self.broker.namespace}:{self.queue_name}"
        try:
            self.broker.client.execute_command("BLMOVE", queue, queue, "LEFT", "LEFT", wait_s)
        except redis.RedisError as error:
            raise ConnectionClosed(error) from error


class BoundedPrefetchBroker(RedisBroker):
    """The broker of one process. Made without a connection: `connect` comes after the fork."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.consumers: list[BoundedPrefetchConsumer] = []
        # One queue at a time, or two would fill the same room.
        self.fetching = threading.Lock()
        # Notified when a message of this process is done.
        self.room = threading.Condition()

    def connect(self, redis_url: str, *, timeout_s: float) -> None:
        """Use the Valkey at `redis_url`; a call fails after `timeout_s` seconds, never retried."""
        # Acknowledgements are kept by this id: two processes must not share it.
        self.broker_id = str(uuid4())
        self.client = redis.Redis.from_url(
            redis_url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # A call that waits for Valkey would wait several times.
            retry=Retry(NoBackoff(), 0),
        )
        self.scripts = {
            name: self.client.register_script(script.script)
            for name, script in self.scripts.items()
        }
        self.scripts["dispatch"] = _translate_redis_errors(self.scripts["dispatch"])

    @property
    def consumer_class(self) -> type[BoundedPrefetchConsumer]:
        """What `consume` makes."""
        return BoundedPrefetchConsumer

    def consume(
        self, queue_name: str, prefetch: int = 1, timeout: int = 5000
    ) -> BoundedPrefetchConsumer:
        """A consumer of a queue; one that is started again takes the place of the old one."""
        consumer = cast("BoundedPrefetchConsumer", super().consume(queue_name, prefetch, timeout))
        if queue_name in self.queues:
            others = [c for c in self.consumers if c.queue_name != queue_name]
            self.consumers = [*others, consumer]
        return consumer


def make_broker() -> BoundedPrefetchBroker:
    """Return a broker without a connection and without the middleware that rows replace."""
    return BoundedPrefetchBroker(
        middleware=[],
        namespace=NAMESPACE,
        # A killed worker's messages come back after this. The look for them is made at every other
        # fetch: an idle process makes one a second of each queue.
        heartbeat_timeout=15_000,
        maintenance_chance=500_000,
    )


def _translate_redis_errors(script: Callable[..., Any]) -> Callable[..., Any]:
    """Return the script with every error of Valkey as the one that Dramatiq survives everywhere.

    Redis's own errors (a timeout, no memory left, a broken connection while a delayed message is
    moved) would end the thread that takes a queue's delayed messages, for good and unnoticed.
    """

    def dispatch(**arguments: Any) -> Any:
        try:
            return script(**arguments)
        except redis.RedisError as error:
            raise ConnectionClosed(error) from error

    return dispatch
