"""The messages between the steps. Each says "look at this row" and carries ids, never data.

A message that cannot be sent is no error: the row is committed, and the clock sends it again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from uuid import UUID

import dramatiq
import redis
import structlog

from actors.runtime import broker
from actors.runtime.broker import NAMESPACE, BoundedPrefetchBroker

LIST_QUEUE = "list"
DOWNLOAD_QUEUE = "download"
WEBHOOK_QUEUE = "webhook"
LATELY_S = 0.1
# A Redis that does not answer is left alone for this long: who sends may hold leases, or lead a
# round for others.
QUIET_S = 2.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def upload_queue(spool_id: UUID) -> str:
    """The queue of one spool: an upload runs where the file is."""
    return f"upload.{spool_id}"


def make_broker(redis_url: str, *, timeout_s: float) -> BoundedPrefetchBroker:
    """Return a broker that is connected to the Valkey at `redis_url`."""
    made = broker.make_broker()
    made.connect(redis_url, timeout_s=timeout_s)
    return made


class Messages:
    """Sends messages. Thread-safe."""

    def __init__(self, broker: BoundedPrefetchBroker) -> None:
        self._broker = broker
        # When a message was sent last, by queue.
        self._sent: dict[str, float] = {}
        self._quiet_until = -math.inf

    def list_documents(self, *job_ids: UUID, delay_s: float = 0) -> None:
        """Have the cases of jobs listed."""
        self._send([_message(LIST_QUEUE, "list_documents", each) for each in job_ids], delay_s)

    def download_lanes(self, job_id: UUID, lanes: int, *, delay_s: float = 0) -> None:
        """Start lanes of a job, as one group."""
        lane = [_message(DOWNLOAD_QUEUE, "download_document", job_id) for _ in range(lanes)]
        self._send(lane, delay_s)

    def wake_lanes(self, job_id: UUID, lanes: int = 1) -> None:
        """Start lanes of a job, unless somebody is about to look what may be asked."""
        if lanes and not self._is_waiting(DOWNLOAD_QUEUE):
            self.download_lanes(job_id, lanes)

    def upload(
        self, spool_id: UUID, job_id: UUID, document_id: UUID, lease: UUID, *, delay_s: float = 0
    ) -> None:
        """Have a spooled file stored, by the uploader of its spool."""
        queue = upload_queue(spool_id)
        self._send([_message(queue, "upload_document", job_id, document_id, lease)], delay_s)

    def wake_uploader(self, spool_id: UUID, job_id: UUID, document_id: UUID, lease: UUID) -> None:
        """The same as `upload`, unless somebody is about to look for files of the spool."""
        if not self._is_waiting(upload_queue(spool_id)):
            self.upload(spool_id, job_id, document_id, lease)

    def drop_uploads(self, spool_id: UUID) -> bool:
        """Deletes the queue of a spool that is dead; whether Redis did."""
        queue = upload_queue(spool_id)
        try:
            self._broker.flush(queue)
            # What its consumers had taken would be given back by others that read this queue.
            for key in self._broker.client.scan_iter(f"{NAMESPACE}:__acks__.*.{queue}*"):
                self._broker.client.delete(key)
        except (redis.RedisError, dramatiq.BrokerError):
            return False
        return True

    def send_webhooks(self, job_id: UUID, positions: Iterable[int], *, delay_s: float = 0) -> None:
        """Have webhooks of an ended job sent."""
        self._send([_message(WEBHOOK_QUEUE, "send_webhook", job_id, p) for p in positions], delay_s)

    def job_ended(self, job_id: UUID, due_webhooks: Iterable[int]) -> None:
        """Log the end of a job and have its due webhooks sent."""
        log.info("job ended", job_id=str(job_id))
        self.send_webhooks(job_id, due_webhooks)

    def again(self, queue: str, actor: str, ids: Sequence[str | int], *, delay_s: float) -> None:
        """Send a message once more that came at a bad time."""
        self._send([_message(queue, actor, *ids)], delay_s)

    def _is_waiting(self, queue: str) -> bool:
        """Whether a message waits in a queue, so that one more would wake nobody sooner.

        Whoever comes to it then looks at the rows as they are by that time, and wakes the next one
        if there is more than he can do. Not asked when nothing was sent here lately.
        """
        now = time.monotonic()
        if now - self._sent.get(queue, -math.inf) > LATELY_S or now < self._quiet_until:
            return False
        try:
            return int(self._broker.client.llen(f"{NAMESPACE}:{queue}")) > 0
        except redis.RedisError as error:
            self._failed(error)
            return False

    def _failed(self, error: Exception) -> None:
        """Has a Redis that is silent be left alone. One that refuses costs no time."""
        if isinstance(error, redis.TimeoutError) or isinstance(error.__cause__, redis.TimeoutError):
            self._quiet_until = time.monotonic() + QUIET_S

    def _send(self, messages: list[dramatiq.Message[None]], delay_s: float) -> None:
        if not messages:
            return
        now = time.monotonic()
        if now < self._quiet_until:
            _not_sent(messages, "TimeoutError")
            return
        self._sent.update((message.queue_name, now) for message in messages)
        # Rounded up: a message that comes before the row is ready finds nothing and is lost.
        delay_ms = math.ceil(delay_s * 1000) or None
        try:
            if len(messages) == 1:
                self._broker.enqueue(messages[0], delay=delay_ms)
            else:
                dramatiq.group(messages, broker=self._broker).run(delay=delay_ms)
        except (redis.RedisError, dramatiq.BrokerError) as error:
            self._failed(error)
            _not_sent(messages, type(error).__name__)


def _not_sent(messages: Sequence[dramatiq.Message[None]], error: str) -> None:
    # The first of any message's ids is the job's.
    log.warning("message not sent; the clock will", job_id=messages[0].args[0], error=error)


def _message(queue: str, actor: str, *args: UUID | str | int) -> dramatiq.Message[None]:
    plain = tuple(arg if isinstance(arg, int) else str(arg) for arg in args)
    return dramatiq.Message(queue_name=queue, actor_name=actor, args=plain, kwargs={}, options={})
