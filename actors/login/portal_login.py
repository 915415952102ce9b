"""One login at the portal's Keycloak, with client_credentials or refresh_token.

Errors are raised without their cause: exceptions of requests hold the form with its secrets.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from actors.contents.charsets import text_of
from actors.portal.portal_answers import ErrorAnswer, retry_after_s
from actors.portal.portal_exchange import chunks, decoded, note_handshake, translated
from actors.portal.portal_session import PortalSession
from actors.resilience.exchange_deadline import Deadline, Watchdog
from storage.errors import AutosError, PortalUntrusted, ServiceUnavailable, TransientError
from storage.login.login_values import Grant
from storage.refusals import PORTAL, RefusalWatch

PART = "The portal's login"
LOGIN = "TLS of the login"
_ANSWER_MAX_BYTES = 1024 * 1024
_CODES = {
    *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
    *("unsupported_grant_type", "invalid_scope", "access_denied"),
}
# The lifetime of a token that states none (docs/reference/portal.md).
DEFAULT_LIFETIME_S = 8 * 3600.0
# Seconds for a connection attempt, and for a read.
CONNECT_S, READ_S = 5.0, 10.0
# The longest lifetime that is accepted.
MOST_S = 30 * 86_400.0


class LoginRefused(AutosError):
    """The login refused the credentials. Another attempt with them may lock the account."""


class LoginUnavailable(ServiceUnavailable):
    """The login gave no usable answer.

    `why` is for the log. `pause_s`: the pause that the login requested, in seconds.
    """

    def __init__(self, why: str, pause_s: float | None = None) -> None:
        super().__init__(PART)
        self.why = why
        self.pause_s = pause_s


@dataclass(frozen=True)
class _Answer:
    status: int
    retry_after: str | None
    is_json: bool
    text: str = field(repr=False)


@dataclass(frozen=True)
class LoginClient:
    """Log in at `token_url` as the client `client_id`. `limit_s`: seconds of a whole exchange."""

    token_url: str
    client_id: str
    client_secret: str | None = field(repr=False)
    watchdog: Watchdog
    limit_s: float = 15.0
    ca_file: Path | None = None
    watch: RefusalWatch = field(default_factory=lambda: RefusalWatch(PORTAL))

    def log_in(self, refresh_token: str | None) -> Grant:
        """Exchange a refresh token for an access token. Without one, use the client's secret.

        Raises LoginRefused or LoginUnavailable.
        """
        begun = time.monotonic()
        answer = self._request_token(self._form(refresh_token))
        if answer is None:
            raise LoginUnavailable("no complete answer in time")
        fields = _json_object(answer.text)
        if answer.status != 200 or _code(fields):
            raise _error_of(answer, fields)
        return _grant(fields, refresh_token, time.monotonic() - begun)

    def _form(self, refresh_token: str | None) -> dict[str, str]:
        form = {"client_id": self.client_id}
        if self.client_secret is not None:
            # Keycloak requires it from a confidential client for every grant, and ignores it for a
            # public client.
            form["client_secret"] = self.client_secret
        if refresh_token is None:
            return {**form, "grant_type": "client_credentials", "scope": "openid"}
        return {**form, "grant_type": "refresh_token", "refresh_token": refresh_token}

    def _request_token(self, form: dict[str, str]) -> _Answer | None:
        certificate: PortalUntrusted | None = None
        try:
            with (
                self.watchdog.limit(self.limit_s) as deadline,
                PortalSession(self.ca_file) as session,
            ):
                answer = self._exchanged(session, form, deadline)
        except TransientError as error:
            note_handshake(self.watch, LOGIN, error)
            return None
        except PortalUntrusted as error:
            certificate = error
        if certificate is not None:
            self.watch.failed(LOGIN, certificate)
            # The error is not the cause of the next one, because it holds the form.
            raise LoginUnavailable("the certificate is not trusted")
        self.watch.succeeded(LOGIN)
        return answer

    def _exchanged(
        self, session: requests.Session, form: dict[str, str], deadline: Deadline
    ) -> _Answer:
        with translated(deadline):
            response = session.post(
                self.token_url,
                data=form,
                headers={"Accept": "application/json"},
                timeout=(CONNECT_S, READ_S),
                stream=True,
                allow_redirects=False,
            )
        with response:
            body = bytearray()
            for chunk in decoded(response, chunks(response, deadline)):
                body += chunk
                if len(body) > _ANSWER_MAX_BYTES:
                    body.clear()
                    break
        status, headers = response.status_code, response.headers
        is_json = ErrorAnswer(status, headers, bytes(body)).is_json
        text = text_of(bytes(body), headers.get("Content-Type", ""))
        return _Answer(status, headers.get("Retry-After"), is_json, text)


def _error_of(answer: _Answer, fields: dict[str, Any]) -> AutosError:
    status = answer.status
    is_no = 400 <= status < 500 and status not in (408, 421, 423, 425, 429)
    code = _code(fields)
    # A page instead of JSON comes from a firewall or a wrong address, not from the login. Some
    # gateways send the login's refusal with 200.
    if (is_no and (status == 401 or answer.is_json)) or (status == 200 and code):
        shown = f" {code}" if code else ""
        return LoginRefused(f"The portal's login refused the credentials ({status}{shown}).")
    return LoginUnavailable(
        f"answer {status}", retry_after_s(answer.retry_after, datetime.now(UTC))
    )


def _code(fields: dict[str, Any]) -> str:
    """Return the login's code of a refusal (RFC 6749, 5.2); empty without one."""
    code = fields.get("error")
    return code if isinstance(code, str) and code in _CODES else ""


def _grant(fields: dict[str, Any], used: str | None, took_s: float) -> Grant:
    access_token = _sendable(fields.get("access_token"))
    if access_token is None:
        raise LoginUnavailable("answer 200 without a token")
    lives_s = lifetime_s(fields.get("expires_in"), access_token, time.time()) - took_s
    newer = _sendable(fields.get("refresh_token")) if used is not None else None
    return Grant(access_token, newer or used, max(lives_s, 0.0))


def _sendable(value: object) -> str | None:
    """Return the value if it is a token that is valid in a header."""
    is_token = isinstance(value, str) and re.fullmatch(r"[!-~]+", value)
    return str(value) if is_token else None


def _json_object(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


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
