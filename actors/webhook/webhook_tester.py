"""Send the test events of SendTestWebhook: signed, once, without any job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from actors.contract_messages import timestamp
from actors.webhook.event_messages import compact
from actors.webhook.signed_posts import LEASE_S, SignedPosts, outcome_of, text_of
from actors.webhook.webhook_client import Answer, DeliveryError
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from storage.errors import ServiceUnavailable
from storage.postgres.database import Database
from storage.webhooks import webhook_tests
from storage.webhooks.delivery_limits import DEFAULT_LIMITS, DeliveryLimits

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TYPE = "webhook.test"


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
    event = pb.WebhookEvent(type=TYPE, timestamp=timestamp(event_time), data=pb.WebhookData())
    return compact(as_json(event))
