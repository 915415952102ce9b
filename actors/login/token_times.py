"""The lifetime of a token by its own claims. The signature is not verified. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any

# The lifetime of a token that states none (docs/reference/portal.md).
DEFAULT_LIFETIME_S = 8 * 3600.0
# The longest lifetime that is accepted.
MOST_S = 30 * 86_400.0


def lifetime_s(expires_in: object, access_token: str, now: float) -> float:
    """Return the lifetime in seconds: by `expires_in`, else by the JWT, else eight hours.

    `now` is in seconds since 1970.
    """
    stated_s = _seconds(expires_in)
    if stated_s is None and (end := end_of(access_token)) is not None:
        issued = _seconds(_claims(access_token).get("iat"))
        # If the JWT names its start, the local clock does not matter.
        stated_s = end - (now if issued is None else issued)
    return min(stated_s, MOST_S) if stated_s is not None and stated_s > 0 else DEFAULT_LIFETIME_S


def end_of(access_token: str) -> float | None:
    """Return the end of a JWT in seconds since 1970, None if it has none or is no JWT."""
    return _seconds(_claims(access_token).get("exp"))


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        return float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, int | float) or not is_number or abs(value) > 1e12:
        return None
    return float(value) if math.isfinite(value) else None


def _claims(access_token: str) -> dict[str, Any]:
    parts = access_token.split(".")
    if len(parts) != 3:
        return {}
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = json.loads(text)
    except (ValueError, RecursionError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
