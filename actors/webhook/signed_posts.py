"""Post an event to its receiver, signed with the client's own secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.webhook.webhook_client import Answer, DeliveryError, WebhookClient
from storage.clients.webhook_secrets import WebhookSecrets
from storage.telemetry.signals import HTTP_STATUS, NOOP_SIGNALS, SIZE_BYTES, Signals

# Longer than an attempt, which takes at most 15 s. A repeat after the loss of a notifier waits for
# its end.
LEASE_S = 25.0
GONE = 410
# Such an attempt is repeated on the schedule: an operator may add a secret meanwhile.
UNSIGNED = "The client has no secret that signs its webhooks."
# The outcomes of an attempt, for the counters and the trace.
DELIVERED, REFUSED, NO_ANSWER, FORBIDDEN = "DELIVERED", "REFUSED", "NO_ANSWER", "FORBIDDEN"
# Of a secret of Standard Webhooks (standardwebhooks.com, specification 1.0).
PREFIX = "whsec_"


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


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the webhook-signature header: one HMAC-SHA256 for each of `secrets`, space-separated.

    `secrets` are `whsec_` + base64; there are several while one is being replaced. `timestamp`
    (Unix seconds) is sent as webhook-timestamp, `message_id` as webhook-id.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(secret, content) for secret in secrets)


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode("ascii")
