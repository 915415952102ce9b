"""Dramatiq's Redis broker, whose processes take no more messages than they have threads.

Dramatiq counts what it has prefetched for each queue apart. A worker whose threads are all busy
with downloads would still take listings, and keep them while another process idles.

And it looks for messages again and again. Here an idle consumer waits at Redis, which wakes it: a
message is taken at once, and waiting costs next to nothing.
"""

from __future__ import annotations

import threading
from typing import Any, cast

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed

# How long a consumer waits before it shows Redis that it lives, and sees that it is to stop.
IDLE_S = 1.0
# Below this a wait is not worth its name, and 0 would be for ever.
SHORTEST_IDLE_S = 0.005


class FairConsumer(_RedisConsumer):
    """Counts the messages of all queues of its process. Delayed ones wait without a thread."""

    def __init__(self, broker: FairBroker, queue_name: str, prefetch: int, _timeout: int) -> None:
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


class FairBroker(RedisBroker):
    """The broker of one process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.consumers: list[FairConsumer] = []
        # One queue at a time, or two would fill the same room.
        self.fetching = threading.Lock()
        # Notified when a message of this process is done.
        self.room = threading.Condition()

    @property
    def consumer_class(self) -> type[FairConsumer]:
        """What `consume` makes."""
        return FairConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> FairConsumer:
        """A consumer of a queue; one that is started again takes the place of the old one."""
        consumer = cast("FairConsumer", super().consume(queue_name, prefetch, timeout))
        if queue_name in self.queues:
            others = [c for c in self.consumers if c.queue_name != queue_name]
            self.consumers = [*others, consumer]
        return consumer
