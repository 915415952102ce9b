"""The messages between the steps. Each names a row to check, and carries ids, never data.

An unsent message is no error: the row is committed, and a check of the rows finds it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from uuid import UUID

import dramatiq
import redis
import structlog

from actors.messaging import broker
from actors.messaging.broker import NAMESPACE, BoundedPrefetchBroker
from storage.logs import OutageLog

WEBHOOK_QUEUE = "webhook"
# Seconds without another send after a timeout of Redis: the sender may hold leases, or lead a round
# for other threads.
QUIET_S = 2.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def upload_queue(spool_id: UUID) -> str:
    """Return the queue of one spool: an upload runs on the host of its file."""
    return f"upload.{spool_id}"


def make_broker(
    redis_url: str, *, timeout_s: float, outages: OutageLog | None = None
) -> BoundedPrefetchBroker:
    """Return a broker that is connected to the Valkey at `redis_url`.

    `outages`: the log of another broker of this process, so that both log an outage once.
    """
    made = broker.make_broker()
    made.outages = outages or made.outages
    made.connect(redis_url, timeout_s=timeout_s)
    return made


class Enqueuer:
    """Send messages. Thread-safe."""

    def __init__(self, broker: BoundedPrefetchBroker) -> None:
        self._broker = broker
        self._quiet_until = -math.inf

    def upload(
        self, spool_id: UUID, job_id: UUID, document_id: UUID, lease: UUID, *, delay_s: float = 0
    ) -> None:
        """Send an upload message for a spooled file to the uploader of its spool."""
        queue = upload_queue(spool_id)
        self._send([_message(queue, "upload_document", job_id, document_id, lease)], delay_s)

    def purge_upload_queue(self, spool_id: UUID) -> bool:
        """Delete the queue of a dead spool. Return whether Redis did it."""
        queue = upload_queue(spool_id)
        try:
            self._broker.flush(queue)
            # Otherwise other consumers of this queue would give back the messages that its
            # consumers had taken.
            for key in self._broker.client.scan_iter(f"{NAMESPACE}:__acks__.*.{queue}*"):
                self._broker.client.delete(key)
        except (redis.RedisError, dramatiq.BrokerError):
            return False
        return True

    def send_webhooks(self, job_id: UUID, positions: Iterable[int], *, delay_s: float = 0) -> None:
        """Send messages for webhooks of an ended job."""
        self._send([_message(WEBHOOK_QUEUE, "send_webhook", job_id, p) for p in positions], delay_s)

    def send_test_webhook(self, test_id: UUID) -> None:
        """Send the message for a test event."""
        self._send([_message(WEBHOOK_QUEUE, "send_test_webhook", test_id)], 0)

    def _failed(self, error: Exception) -> None:
        """Pause sending if Redis timed out. A refusal costs no time, so it causes no pause."""
        if isinstance(error, redis.TimeoutError) or isinstance(error.__cause__, redis.TimeoutError):
            self._quiet_until = time.monotonic() + QUIET_S

    def _send(self, messages: list[dramatiq.Message[None]], delay_s: float) -> None:
        if not messages:
            return
        now = time.monotonic()
        if now < self._quiet_until:
            _not_sent(messages, "TimeoutError")
            return
        # Rounded up: a message that arrives before its row is due finds nothing and is lost.
        delay_ms = math.ceil(delay_s * 1000) or None
        try:
            with self._broker.reported("send"):
                if len(messages) == 1:
                    self._broker.enqueue(messages[0], delay=delay_ms)
                else:
                    dramatiq.group(messages, broker=self._broker).run(delay=delay_ms)
        except dramatiq.BrokerError as error:
            self._failed(error)
            _not_sent(messages, type(error).__name__)


def _not_sent(messages: Sequence[dramatiq.Message[None]], error: str) -> None:
    # The first argument is the id of the job, or of the test event.
    log.debug("message not sent; polling finds its row", row_id=messages[0].args[0], error=error)


def _message(queue: str, actor: str, *args: UUID | str | int) -> dramatiq.Message[None]:
    plain = tuple(arg if isinstance(arg, int) else str(arg) for arg in args)
    return dramatiq.Message(queue_name=queue, actor_name=actor, args=plain, kwargs={}, options={})
