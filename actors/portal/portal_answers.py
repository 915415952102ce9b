"""The errors for the portal's answers other than 200. Pure.

The table is in docs/reference/portal.md. Pages sent with 200 in place of a file: non_documents.py.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from actors.contents.charsets import text_of
from actors.contents.json_fields import mime_type
from actors.resilience.retry import seconds_until
from storage.errors import AttemptError, PermanentError, TooFast, TransientError

# A longer time that the portal names is cut to this. storage/portal/throttle.py caps the pause of
# all requests by itself: CAP_S.
RETRY_AFTER_CAP_S = 300.0
# The reason of a 401 that the token may have caused.
CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"

# The accent may be written in any form, such as an entity of HTML.
_NO_STANDING = re.compile(r"n\S{1,8}o\s+possui\s+acesso\s+ao\s+processo", re.I)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An answer other than 200. `body` is its beginning; None: it could not be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def is_json(self) -> bool:
        """Return whether the API itself answered, not a firewall or a web server before it."""
        begin = (self.body or b"").removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if begin in (b"{", b"["):
            return True
        mime = mime_type(self.headers.get("Content-Type", "")) or ""
        return begin != b"<" and (mime.endswith("+json") or mime == "application/json")

    def says_no_standing(self) -> bool:
        """Return whether the caller is authenticated but has no access to this case."""
        text = text_of(self.body or b"", self.headers.get("Content-Type", ""))
        with contextlib.suppress(ValueError, RecursionError):  # No JSON: searched as it is.
            text = json.dumps(json.loads(text), ensure_ascii=False)
        return _NO_STANDING.search(text) is not None


def error_of(refusal: ErrorAnswer) -> AttemptError:
    """Return the error for an answer other than 200, with the pause that the portal names."""
    error = _meaning(refusal)
    if isinstance(error, TransientError):
        named = refusal.headers.get("Retry-After")
        error.retry_after_s = error.retry_after_s or retry_after_s(named, datetime.now(UTC))
    return error


def _meaning(refusal: ErrorAnswer) -> AttemptError:
    status = refusal.status
    if status in _BY_STATUS:
        return _BY_STATUS[status](refusal)
    if status in _REDIRECTS:
        return PermanentError("UNTRUSTED_LINK", "The portal redirects to another address.")
    if 400 <= status < 500:
        return PermanentError("PORTAL_ERROR", f"The portal refused the request ({status}).")
    if status >= 500:
        return TransientError("PORTAL_UNAVAILABLE", f"The portal is not available ({status}).")
    return TransientError(
        "PORTAL_ERROR", f"The portal gave an unexpected answer ({status}).", is_few=True
    )


def _unauthorized(refusal: ErrorAnswer) -> AttemptError:
    if refusal.says_no_standing():
        return _no_access()
    if refusal.body is None:
        # Only the body shows whether the token or the case is the cause.
        return _incomplete()
    return PermanentError(CREDENTIALS_REJECTED, "The portal does not accept the credentials.")


def _forbidden(refusal: ErrorAnswer) -> AttemptError:
    if refusal.is_json:
        return _no_access()
    # A firewall also blocks single addresses, so this status sooner than a 429 concerns only the
    # document.
    return TooFast(
        "The portal's firewall rejected the request.",
        own_after=2,
        is_of_firewall=True,
    )


def _not_found(refusal: ErrorAnswer) -> AttemptError:
    if refusal.is_json:
        return not_found()
    if refusal.body is None and "Content-Type" not in refusal.headers:
        return _incomplete()
    return PermanentError("PORTAL_ERROR", "The portal has no such address.")


def _incomplete() -> AttemptError:
    return TransientError("PORTAL_UNAVAILABLE", "The portal's answer is incomplete.")


def _too_fast(refusal: ErrorAnswer) -> AttemptError:  # noqa: ARG001
    return TooFast("The portal asks for a pause.")


def _internal(refusal: ErrorAnswer) -> AttemptError:
    return TransientError(
        "PORTAL_ERROR", f"The portal failed internally ({refusal.status}).", is_few=True
    )


def _again(refusal: ErrorAnswer) -> AttemptError:
    """Return the error for a status that means "not now": the request itself is valid."""
    return TransientError("PORTAL_ERROR", f"The portal asks to try again ({refusal.status}).")


# Not 300 and 304, which name no other address.
_REDIRECTS = (301, 302, 303, 307, 308)
_BY_STATUS = {
    # Accepted: the document is being prepared.
    202: _again,
    401: _unauthorized,
    403: _forbidden,
    404: _not_found,
    # Request Timeout, Conflict, Misdirected Request, Locked, Failed Dependency, Too Early.
    **dict.fromkeys((408, 409, 421, 423, 424, 425), _again),
    429: _too_fast,
    500: _internal,
}


def not_found() -> PermanentError:
    """Return the error for a case or document that the portal does not have."""
    return PermanentError("NOT_FOUND", "The portal has no such case or document.")


def _no_access() -> PermanentError:
    return PermanentError("NO_ACCESS", "The credentials give no access to this case or document.")


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the pause in a Retry-After header, 1 s to RETRY_AFTER_CAP_S; None without one.

    None also for an invalid time, or a time in the past: clocks differ.
    """
    pause_s = seconds_until(value, now)
    if pause_s is None or pause_s <= 0:
        return None
    return min(max(pause_s, 1.0), RETRY_AFTER_CAP_S)
