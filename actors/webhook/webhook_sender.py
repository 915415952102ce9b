"""Send a webhook: the result of a run, signed, with URLs that are new in each attempt.

The test event of SendTestWebhook is sent once, without any job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from actors.contract_messages import (
    URL_LIFETIME_S,
    change_message,
    compact,
    event_message,
    timestamp,
)
from actors.messaging.enqueuer import Enqueuer
from actors.webhook.signed_posts import (
    DELIVERED,
    GONE,
    LEASE_S,
    SignedPosts,
    outcome_of,
    text_of,
)
from actors.webhook.webhook_client import Answer, DeliveryError
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from storage.errors import LeaseLost, ServiceUnavailable
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.telemetry.signals import NOOP_SIGNALS, Signals
from storage.telemetry.tracing import Span
from storage.webhook_policy import is_plaintext
from storage.webhooks import delivery_limits, webhook_rows, webhook_tests
from storage.webhooks.delivery_limits import DEFAULT_LIMITS, DeliveryLimits
from storage.webhooks.webhook_rows import WebhookDelivery

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A larger body is sent without its documents; the receiver can read them with ListDocuments.
MAX_BODY_BYTES = 5_000_000


@dataclass(frozen=True)
class WebhookSender:
    """The dependencies of webhook delivery."""

    database: Database
    objects: Objects
    posts: SignedPosts
    messages: Enqueuer
    signals: Signals = NOOP_SIGNALS
    limits: DeliveryLimits = DEFAULT_LIMITS

    def poll(self, found: Callable[[], None]) -> bool:
        """Make one due attempt that has lost its message. Return whether there was one.

        Raises ServiceUnavailable.
        """
        waiting = delivery_limits.next_webhook(self.database, limits=self.limits)
        if waiting is None:
            return False
        found()
        return self._send(*waiting)

    def send_webhook(self, job_id: UUID, position: int) -> None:
        """Make the attempt if it is due and no other process makes it."""
        try:
            self._send(job_id, position)
        except ServiceUnavailable as error:
            log.warning("webhook postponed", job_id=str(job_id), part=error.part)

    def _send(self, job_id: UUID, position: int) -> bool:
        """Make the attempt if it is due. Return False if another process makes it."""
        delivery = webhook_rows.claim(
            self.database, job_id, position, lease_s=LEASE_S, limits=self.limits
        )
        if delivery is None:
            return False
        with (
            structlog.contextvars.bound_contextvars(
                job_id=str(job_id), webhook_id=delivery.webhook_id
            ),
            self.signals.step("webhook", job_id=job_id, traceparent=delivery.traceparent) as span,
        ):
            self._try(delivery, span)
        # Another webhook of the client may have waited for the end of this delivery.
        if waiting := delivery_limits.next_webhook(
            self.database, delivery.client, limits=self.limits
        ):
            self.messages.send_webhooks(waiting[0], [waiting[1]])
        return True

    def _try(self, delivery: WebhookDelivery, span: Span) -> None:
        try:
            self._attempt(delivery, span)
        except LeaseLost:
            log.warning("webhook taken over")
            span.fail("LEASE_LOST")
        except ServiceUnavailable:
            raise
        except Exception:
            # This is a defect in Autos. The attempt counts on the retry schedule, so that retries
            # are neither too frequent nor endless.
            log.exception("webhook failed unexpectedly")
            span.fail("INTERNAL")
            self._refused(delivery, None, "Autos could not send the webhook.", is_final=False)

    def _attempt(self, delivery: WebhookDelivery, span: Span) -> None:
        answer = self._answer(delivery)
        outcome = outcome_of(answer)
        self.signals.webhook_attempted(outcome)
        if outcome != DELIVERED:
            span.fail(outcome)
        if isinstance(answer, DeliveryError):
            self._refused(
                delivery,
                None,
                answer.message,
                is_final=answer.is_final,
                is_timeout=answer.is_timeout,
            )
        elif outcome == DELIVERED:
            webhook_rows.delivered(self.database, delivery, answer.status)
            log.info("webhook delivered", status_code=answer.status)
        else:
            self._refused(delivery, answer, text_of(answer), is_final=answer.status == GONE)

    def _answer(self, delivery: WebhookDelivery) -> Answer | DeliveryError:
        return self.posts.post(
            delivery.client, delivery.url, delivery.webhook_id, lambda: self.body(delivery)
        )

    def _refused(
        self,
        delivery: WebhookDelivery,
        answer: Answer | None,
        error: str,
        *,
        is_final: bool,
        is_timeout: bool = False,
    ) -> None:
        delay_s = webhook_rows.refused(
            self.database,
            delivery,
            status_code=answer.status if answer else 0,
            error=error,
            retry_after_s=answer.retry_after_s if answer else None,
            is_final=is_final,
            is_timeout=is_timeout,
        )
        log.warning("webhook not accepted", error=error, retry_in_s=delay_s)
        if delay_s is not None:
            self.signals.retried("webhook", outcome_of(answer))
            self.messages.send_webhooks(delivery.job_id, [delivery.position], delay_s=delay_s)

    def body(self, delivery: WebhookDelivery) -> bytes:
        """Return the body of this attempt: the frozen result of the run, with new URLs."""
        if delivery.change is not None:
            change = change_message(delivery.type, delivery.event_time, delivery.change)
            return compact(as_json(change))
        assert delivery.job is not None  # noqa: S101 - every other event has its job
        event = event_message(
            delivery.type,
            delivery.event_time,
            delivery.job,
            delivery.documents,
            max_bytes=MAX_BODY_BYTES,
            url_of=None if is_plaintext(delivery.url) else self._url_of,
        )
        body = as_json(event)
        if not delivery.documents:
            # Receivers find the list in every body that does not omit it.
            body["data"]["documents"] = []
        return compact(body)

    def _url_of(self, object_key: str) -> tuple[str, datetime]:
        return self.objects.url(object_key, lifetime_s=URL_LIFETIME_S)


TEST_TYPE = "webhook.test"


@dataclass(frozen=True)
class WebhookTester:
    """The dependencies of test events."""

    database: Database
    posts: SignedPosts
    limits: DeliveryLimits = DEFAULT_LIMITS

    def poll(self, found: Callable[[], None]) -> bool:
        """Send one test event that has lost its message. Return whether there was one.

        Raises ServiceUnavailable.
        """
        test_id = webhook_tests.next_test(self.database)
        if test_id is None:
            return False
        found()
        return self._send(test_id)

    def send_test_webhook(self, test_id: UUID) -> None:
        """Send the test event if no other process sends it."""
        try:
            self._send(test_id)
        except ServiceUnavailable as error:
            # The call that waits for it returns the same.
            log.warning("test webhook not sent", part=error.part)

    def _send(self, test_id: UUID) -> bool:
        """Send the test event. Return False if another process does, or if it has to wait."""
        test = webhook_tests.claim(self.database, test_id, lease_s=LEASE_S, limits=self.limits)
        if test is None:
            return False
        answer = self.posts.post(
            test.client, test.url, test.webhook_id, lambda: _body(test.create_time)
        )
        webhook_tests.record(
            self.database,
            test,
            status_code=answer.status if isinstance(answer, Answer) else 0,
            error=text_of(answer),
            is_timeout=isinstance(answer, DeliveryError) and answer.is_timeout,
        )
        log.info("test webhook sent", webhook_id=test.webhook_id, outcome=outcome_of(answer))
        return True


def _body(event_time: datetime) -> bytes:
    event = pb.WebhookEvent(type=TEST_TYPE, timestamp=timestamp(event_time), data=pb.WebhookData())
    return compact(as_json(event))


@dataclass(frozen=True)
class Notifier:
    """Sends webhooks and test events."""

    webhooks: WebhookSender
    tests: WebhookTester

    def poll(self, found: Callable[[], None]) -> bool:
        """Send one event that has lost its message. Return whether there was one.

        A call waits for a test event, so it goes first. Raises ServiceUnavailable.
        """
        return self.tests.poll(found) or self.webhooks.poll(found)
