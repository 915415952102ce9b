"""A sandbox of the portal's Keycloak: it issues tokens, rotates refresh tokens, and rejects.

with SandboxLogin() as login, SandboxPortal() as portal:
    portal.accepts = login.accepts
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from tests.sandbox.keycloak.login_server import LoginServer
from tests.sandbox.replies import LOGIN_PAGE, Reply, as_json, whole

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-client-secret"
REFRESH_TOKEN = "sandbox-refresh-token"
LIFE_S = 8 * 3600

# The arguments that `fail` accepts.
FAULTS: Mapping[str, Reply] = {
    "invalid_grant": as_json(400, {"error": "invalid_grant", "error_description": "Not active"}),
    "invalid_client": as_json(401, {"error": "invalid_client", "error_description": "No"}),
    "unauthorized_client": as_json(400, {"error": "unauthorized_client"}),
    "forbidden": as_json(403, {"error": "access_denied"}),
    # By a gateway that hides the status.
    "invalid_grant_with_200": as_json(200, {"error": "invalid_grant"}),
    "firewall": whole(403, b"<html>Forbidden</html>", "text/html"),
    "busy": as_json(503, {"error": "temporarily_unavailable"}),
    "too-fast": as_json(429, {"error": "slow_down"}, {"Retry-After": "120"}),
    "page": LOGIN_PAGE,
    "empty": as_json(200, {}),
    "redirect": Reply(302, (), {"Location": "/elsewhere"}, 0),
    "large": whole(200, b" " * 3_000_000, "application/json"),
}


@dataclass(frozen=True)
class LoginRequest:
    """A login request with its result, decided on arrival. `time` is in seconds since 1970."""

    time: float
    grant: str
    form: Mapping[str, str]
    status: int


class SandboxLogin:
    """A login server on 127.0.0.1. Public attributes may be changed while it serves.

    `client_secret` None: the client is public. `rotates`: a refresh token is valid once. Without
    `says_expires_in` the answer has no `expires_in`.
    """

    def __init__(self, port: int = 0) -> None:
        self.client_id = CLIENT_ID
        self.client_secret: str | None = CLIENT_SECRET
        self.refresh_token = REFRESH_TOKEN
        self.expires_in = float(LIFE_S)
        self.rotates = True
        self.says_expires_in = True
        self._port = port
        self._exit = ExitStack()
        self._lock = threading.Lock()
        self._ends: dict[str, float] = {}
        self._requests: list[LoginRequest] = []
        self._fault: Reply | None = None
        self._open = threading.Event()
        self._open.set()

    def __enter__(self) -> Self:
        self._server = self._exit.enter_context(LoginServer(self._port, self._answer))
        self._exit.callback(self._open.set)
        self._exit.callback(self._server.closing.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        """Return the value for PDPJ_TOKEN_URL."""
        path = "/auth/realms/pje/protocol/openid-connect/token"
        return f"http://127.0.0.1:{self._server.port}{path}"

    @property
    def requests(self) -> list[LoginRequest]:
        """Return every login request so far, in order of arrival, those on hold included."""
        with self._lock:
            return list(self._requests)

    def accepts(self, bearer: str) -> bool:
        """Return True if an access token is valid now."""
        with self._lock:
            return self._ends.get(bearer, 0.0) > time.monotonic()

    def expire(self) -> None:
        """Invalidate all access tokens now, whatever their announced lifetime."""
        with self._lock:
            self._ends.clear()

    def fail(self, how: str | None) -> None:
        """Answer every login like this from now on: one of FAULTS, or None for good answers."""
        self._fault = FAULTS[how] if how else None

    def hold(self) -> None:
        """Leave logins unanswered until `release`; their results are decided on arrival."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def _answer(self, form: Mapping[str, str]) -> Reply:
        """Record a login and return its answer, after `release` if logins are held."""
        with self._lock:
            reply = self._fault or self._decided(form)
            grant = form.get("grant_type", "")
            self._requests.append(LoginRequest(time.time(), grant, dict(form), reply.status))
        self._open.wait()
        return reply

    def _decided(self, form: Mapping[str, str]) -> Reply:
        is_client = form.get("client_id") == self.client_id
        # Keycloak ignores the secret of a public client.
        if not is_client or self.client_secret not in (None, form.get("client_secret")):
            return FAULTS["invalid_client"]
        if form.get("grant_type") == "client_credentials":
            return self._token({}) if self.client_secret else FAULTS["unauthorized_client"]
        if form.get("grant_type") != "refresh_token":
            return as_json(400, {"error": "unsupported_grant_type"})
        if form.get("refresh_token") != self.refresh_token:
            return FAULTS["invalid_grant"]
        if not self.rotates:
            return self._token({})
        self.refresh_token = f"refresh-{secrets.token_hex(16)}"
        return self._token({"refresh_token": self.refresh_token})

    def _token(self, more: Mapping[str, str]) -> Reply:
        token = f"access-{secrets.token_hex(16)}"
        self._ends[token] = time.monotonic() + self.expires_in
        life = {"expires_in": self.expires_in} if self.says_expires_in else {}
        return as_json(200, {"access_token": token, "token_type": "Bearer", **life, **more})
