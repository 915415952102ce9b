"""Dramatiq's Redis broker with a bounded prefetch over all queues of a process, and blocking waits.

Dramatiq counts prefetched messages for each queue apart. A worker with all threads busy with
downloads would still take listings and keep them while another process is idle. And Dramatiq's
consumers poll. Here an idle consumer blocks in Valkey until a message arrives, and takes it at
once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast
from uuid import uuid4

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed, DecodeError
from redis.exceptions import NoScriptError

from actors.messaging.message_check import misfit, stored_id
from storage.errors import ServiceRefused
from storage.logs import OutageLog
from storage.valkey import PART, connect, meaning

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The prefix of every key of Dramatiq in Valkey.
NAMESPACE = "autos"

# The operation of an outage in the log: the same for all, so that an outage is logged once.
CONNECTION = "commands"
# Seconds that a consumer waits before it sends a heartbeat and checks whether it must stop.
IDLE_S = 1.0
# The shortest useful wait in seconds. In Valkey, 0 means no end.
SHORTEST_IDLE_S = 0.005

# The keys and arguments of a call of Dramatiq's script.
_Call = tuple[Sequence[str], Sequence[Any]]


class BoundedPrefetchConsumer(_RedisConsumer):
    """Count the messages of all queues of the process. Delayed ones wait without a thread."""

    def __init__(
        self, broker: BoundedPrefetchBroker, queue_name: str, prefetch: int, _timeout: int
    ) -> None:
        # Dramatiq's own waits return at once; `_wait` replaces them.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]
        self._due_ms: dict[str, int] = {}

    @property
    def outstanding_message_count(self) -> int:
        """Return how many messages this process holds and has not finished."""
        own = int(super().outstanding_message_count)
        if self.queue_name not in self.broker.queues:
            return own
        others = (c for c in list(self.broker.consumers) if c is not self)
        return own + sum(len(c.queued_message_ids) + len(c.message_cache) for c in others)

    def __next__(self) -> dramatiq.broker.MessageProxy | None:
        """Return a message; None after a while without one. Raises ConnectionClosed."""
        if not self.message_cache:
            self._wait()
        with self.broker.fetching, self.broker.reported("fetch"):
            message = self._next_processable()
        if message is not None and "eta" in message.options:
            self._due_ms[message.message_id] = message.options["eta"]
        return message

    def _next_processable(self) -> dramatiq.broker.MessageProxy | None:
        """Return the next message, None without one. A message that would end a thread is dropped.

        Every message is a hint, so nothing is lost with it.
        """
        try:
            message = super().__next__()  # type: ignore[no-untyped-call]
        except (DecodeError, TypeError) as error:
            # Without the message: it is not of Autos.
            problem = type(error).__name__
            log.error("message dropped", queue=self.queue_name, problem=problem)  # noqa: TRY400
            return None
        if message is not None and (problem := misfit(message, self.queue_name)):
            log.error("message dropped", queue=self.queue_name, problem=problem)
            self.queued_message_ids.discard(message.message_id)
            if message_id := stored_id(message):
                self.broker.finish(self.queue_name, message_id)
            return None
        return cast("dramatiq.broker.MessageProxy | None", message)

    def ack(self, message: dramatiq.broker.MessageProxy) -> None:
        """Remove a finished message together with the next fetch, at most IDLE_S later.

        If the process is killed before, the message is processed twice, as after a lost answer.
        """
        self.broker.finish(self.queue_name, message.options["redis_message_id"])
        self.queued_message_ids.discard(message.message_id)
        self._let_go(message)

    def nack(self, message: dramatiq.broker.MessageProxy) -> None:
        """Move a message that cannot be processed to the dead letters."""
        try:
            super().nack(message)  # type: ignore[no-untyped-call]
        finally:
            self._let_go(message)

    def close(self) -> None:
        """Remove the finished messages, unless Valkey is unavailable."""
        with suppress(ConnectionClosed):
            self.broker.do_fetch(self.queue_name, 0)

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
        # From the left to the left: the list does not change, and the message is fetched as usual.
        queue = f"{self.broker.namespace}:{self.queue_name}"
        with self.broker.reported("wait"):
            self.broker.client.execute_command("BLMOVE", queue, queue, "LEFT", "LEFT", wait_s)


class BoundedPrefetchBroker(RedisBroker):
    """The broker of one process. Created without a connection: `connect` follows the fork."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.consumers: list[BoundedPrefetchConsumer] = []
        # One queue at a time. Two fetches could fill the same room.
        self.fetching = threading.Lock()
        # Notified when a message of this process is finished.
        self.room = threading.Condition()
        # Finished messages that are not removed from Valkey yet, by queue.
        self._finished: dict[str, list[str]] = {}
        # The calls that a thread collects for one round trip.
        self._collecting = threading.local()
        self.outages = OutageLog(PART)

    @contextmanager
    def reported(self, operation: str) -> Iterator[None]:
        """Log an outage of Valkey, or a refusal of `operation`, once, and its end.

        Raises ConnectionClosed for each error of Valkey.
        """
        try:
            yield
        except ConnectionClosed as error:
            self._log_failure(operation, error.__cause__ or error.__context__ or error)
            raise
        except redis.RedisError as error:
            self._log_failure(operation, error)
            raise ConnectionClosed(error) from error
        self.outages.succeeded(CONNECTION)
        self.outages.succeeded(operation)

    def _log_failure(self, operation: str, error: BaseException) -> None:
        found = meaning(error)
        is_refusal = isinstance(found, ServiceRefused)
        self.outages.failed(operation if is_refusal else CONNECTION, found)

    def connect(self, redis_url: str, *, timeout_s: float) -> None:
        """Connect to the Valkey at `redis_url`. A call fails after `timeout_s`, without retries."""
        # Acknowledgements are kept by this id: two processes must not share it.
        self.broker_id = str(uuid4())
        self.client = connect(redis_url, timeout_s=timeout_s)
        self.scripts = {
            name: self.client.register_script(script.script)
            for name, script in self.scripts.items()
        }
        self._dispatch_script = self.scripts["dispatch"]
        self.scripts["dispatch"] = self._run_dispatch

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        """Enqueue the messages of the block in one round trip, at its end.

        Raises ConnectionClosed at the end of the block.
        """
        with self._collected() as calls:
            yield
        self._execute(calls)

    def finish(self, queue_name: str, message_id: str) -> None:
        """Let the next fetch of a queue remove a finished message from Valkey."""
        self._finished.setdefault(queue_name, []).append(message_id)

    def do_fetch(self, queue_name: str, count: int) -> list[bytes]:
        """Remove the finished messages of a queue, and return up to `count` others."""
        finished = self._finished.setdefault(queue_name, [])
        ids = finished[:]
        with self._collected() as calls:
            for message_id in ids:
                self.do_ack(queue_name, message_id)
            if count:
                self._dispatch("fetch")(queue_name, count)  # type: ignore[no-untyped-call]
        answers = self._execute(calls)
        # Other threads have only appended.
        del finished[: len(ids)]
        return cast("list[bytes]", answers[-1]) if count else []

    @contextmanager
    def _collected(self) -> Iterator[list[_Call]]:
        calls: list[_Call] = []
        self._collecting.calls = calls
        try:
            yield calls
        finally:
            self._collecting.calls = None

    def _run_dispatch(self, *, args: Sequence[Any], keys: Sequence[str]) -> Any:
        collected = getattr(self._collecting, "calls", None)
        if collected is None:
            return self._execute([(keys, args)])[0]
        collected.append((keys, args))
        return None

    def _execute(self, calls: Sequence[_Call]) -> list[Any]:
        """Run Dramatiq's script for each call, in one round trip. Raises ConnectionClosed.

        Every error of Valkey is translated into one that Dramatiq handles. Redis's own errors (a
        timeout, no memory left, a broken connection while a delayed message is moved) would end the
        thread that takes a queue's delayed messages, permanently and without a log line.
        """
        script = self._dispatch_script
        try:
            if len(calls) == 1:
                return [script(keys=keys, args=args) for keys, args in calls]
            pipeline = self.client.pipeline(transaction=False)
            for keys, args in calls:
                pipeline.evalsha(script.sha, len(keys), *keys, *args)
            answers = pipeline.execute(raise_on_error=False)
            for place, (keys, args) in enumerate(calls):
                if isinstance(answers[place], NoScriptError):
                    answers[place] = script(keys=keys, args=args)
                elif isinstance(answers[place], Exception):
                    raise answers[place]
        except redis.RedisError as error:
            raise ConnectionClosed(error) from error
        return answers

    @property
    def consumer_class(self) -> type[BoundedPrefetchConsumer]:
        """Return the class of consumers for `consume`."""
        return BoundedPrefetchConsumer

    def consume(
        self, queue_name: str, prefetch: int = 1, timeout: int = 5000
    ) -> BoundedPrefetchConsumer:
        """Return a consumer of a queue. A consumer that is started again replaces the old one."""
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
        # A killed worker's messages come back after this time. Every other fetch checks for them:
        # an idle process makes one fetch a second for each queue.
        heartbeat_timeout=15_000,
        maintenance_chance=500_000,
    )
