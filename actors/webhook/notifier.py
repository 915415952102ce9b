"""The parts of a notifier, and its fallback without messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors.webhook.webhook_sender import WebhookSender
from actors.webhook.webhook_tester import WebhookTester


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
