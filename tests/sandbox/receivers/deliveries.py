"""A webhook request as it arrived, and whether its signature is valid."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True)
class Delivery:
    """`time` in seconds since 1970; header names in lower case; `payload` None if not JSON."""

    time: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    payload: Any
    webhook_id: str | None
    is_verified: bool


def delivery_of(
    webhook: Webhook | None, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Delivery:
    """Parse a request into a delivery. Without a `webhook` no delivery counts as verified."""
    try:
        payload = json.loads(body)
    except ValueError:
        payload = None
    lowered = {name.lower(): value for name, value in headers.items()}
    is_verified = webhook is not None and _verifies(webhook, body, lowered)
    webhook_id = lowered.get("webhook-id")
    return Delivery(time.time(), method, path, lowered, body, payload, webhook_id, is_verified)


def _verifies(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        # ValueError: a signature header so malformed that the package does not foresee it.
        return False
    return True
