"""The signature of a webhook, as Standard Webhooks (standardwebhooks.com, specification 1.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


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
