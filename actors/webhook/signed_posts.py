"""Post an event to its receiver, signed with the client's own secrets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from actors.webhook.signature import sign
from actors.webhook.webhook_client import Answer, DeliveryError, WebhookClient
from storage.clients.webhook_secrets import WebhookSecrets
from storage.telemetry.signals import HTTP_STATUS, NOOP_SIGNALS, SIZE_BYTES, Signals

# An attempt takes at most 15 s. Its lease must last longer.
LEASE_S = 30.0
GONE = 410
# Such an attempt is repeated on the schedule: an operator may add a secret meanwhile.
UNSIGNED = "The client has no secret that signs its webhooks."
# The outcomes of an attempt, for the counters and the trace.
DELIVERED, REFUSED, NO_ANSWER, FORBIDDEN = "DELIVERED", "REFUSED", "NO_ANSWER", "FORBIDDEN"


@dataclass(frozen=True)
class SignedPosts:
    """Posts events to receivers."""

    poster: WebhookClient
    secrets: WebhookSecrets
    signals: Signals = NOOP_SIGNALS

    def post(
        self, client: str, url: str, webhook_id: str, body_of: Callable[[], bytes]
    ) -> Answer | DeliveryError:
        """Post an event. Return the error instead of raising it.

        The cause of the error holds the URL with its query. If the error were raised, it would be
        logged together with any error that occurs while it is recorded.
        """
        secrets = self.secrets.current(client)
        if not secrets:
            return DeliveryError(UNSIGNED)
        body, now = body_of(), int(time.time())
        # The receiver is a third party: it gets no headers except those of Standard Webhooks.
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(secrets, webhook_id, now, body),
        }
        with self.signals.request("webhook", "POST", SIZE_BYTES, len(body)) as span:
            try:
                answer = self.poster.post(url, headers, body)
            except DeliveryError as error:
                span.fail(NO_ANSWER)
                return error
            span.set(HTTP_STATUS, answer.status)
            return answer


def outcome_of(answer: Answer | DeliveryError | None) -> str:
    """Return the outcome. REFUSED: any status but 2xx; FORBIDDEN: refused by the address rules."""
    if isinstance(answer, Answer):
        return DELIVERED if 200 <= answer.status < 300 else REFUSED
    return FORBIDDEN if answer is not None and answer.is_final else NO_ANSWER


def text_of(answer: Answer | DeliveryError) -> str:
    """Return why a receiver did not accept an event, for callers; empty if it did."""
    if isinstance(answer, DeliveryError):
        return answer.message
    return "" if outcome_of(answer) == DELIVERED else f"The receiver answered {answer.status}."
