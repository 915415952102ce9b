"""The secrets that sign webhooks."""

from __future__ import annotations

import base64
from itertools import pairwise

from storage.environment.setting_values import comma_list

# Of 24 random bytes, fewer are distinct less than once in 10^12 keys.
DISTINCT_BYTES = 12


def parse_webhook_secrets(text: str) -> tuple[str, ...]:
    """Return comma-separated secrets. Raises ValueError with the rule that one breaks."""
    secrets = comma_list(text)
    if not secrets or not all(map(is_webhook_secret, secrets)):
        raise ValueError(
            "must be whsec_ and the base64 of 24 to 64 bytes (several: comma-separated)"
        )
    if not all(map(_looks_random, secrets)):
        raise ValueError("must hold random bytes: these repeat, or follow a pattern")
    return secrets


def _looks_random(text: str) -> bool:
    """Return False if the bytes are few, or follow each other in equal steps."""
    key = base64.b64decode(text.removeprefix("whsec_"))
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    return len(set(key)) >= DISTINCT_BYTES and len(steps) >= DISTINCT_BYTES


def is_webhook_secret(text: str) -> bool:
    """Whether this is `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = webhook_key(text)
    except ValueError:  # no base64, or not even ASCII
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def webhook_key(secret: str) -> bytes:
    """The key of a webhook secret. Raises ValueError."""
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
