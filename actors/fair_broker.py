"""Dramatiq's Redis broker, whose processes take no more messages than they have threads.

Dramatiq counts what it has prefetched for each queue apart. A worker whose threads are all busy
with downloads would still take listings, and keep them while another process idles.
"""

from __future__ import annotations

from typing import Any, cast

from dramatiq.brokers.redis import RedisBroker, _RedisConsumer


class FairConsumer(_RedisConsumer):
    """Counts the messages of all queues of its process. Delayed ones wait without a thread."""

    @property
    def outstanding_message_count(self) -> int:
        """Messages that this process holds and has not finished."""
        own = int(super().outstanding_message_count)
        if self.queue_name not in self.broker.queues:
            return own
        others = (c for c in list(self.broker.consumers) if c is not self)
        return own + sum(len(c.queued_message_ids) + len(c.message_cache) for c in others)


class FairBroker(RedisBroker):
    """The broker of one process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.consumers: list[FairConsumer] = []

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
