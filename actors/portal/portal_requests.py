"""The requests of an exchange with the portal: one, and a second one with a newer token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import requests

from actors.portal.portal_answers import CREDENTIALS_REJECTED, ErrorAnswer, error_of
from actors.portal.portal_exchange import is_whole, note_handshake, refusal_body, translated
from actors.portal.portal_session import ThreadSessions, TokenSource
from actors.resilience.exchange_deadline import Deadline
from storage.errors import AttemptError, PortalUntrusted, TransientError
from storage.portal.slots import court_of
from storage.refusals import PORTAL, RefusalWatch
from storage.telemetry.signals import Signals
from storage.telemetry.tracing import Span

TLS = "TLS"
_API = "/api/v2"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A GET at the portal, and what is expected of it. `client`: of the job that needs it."""

    process_number: str
    path: str
    running: Deadline
    span: Span
    listed_size_bytes: int | None
    is_fresh: bool
    client: str

    @property
    def court(self) -> str:
        """Return the court of the case."""
        return court_of(self.process_number)


class PortalRequests:
    """Sends requests to `base_url` with the token of `tokens`. Threads may share it.

    `timeouts_s`: for each connection attempt, and for each read. `ca_file`: see PortalSession.
    `watch`: publishes that the certificate is not trusted.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource,
        timeouts_s: tuple[float, float],
        signals: Signals,
        *,
        ca_file: Path | None,
        watch: RefusalWatch | None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._tokens = tokens
        self._timeouts_s = timeouts_s
        self._signals = signals
        self._sessions = ThreadSessions(ca_file)
        self._watch = watch or RefusalWatch(PORTAL)

    def close(self) -> None:
        """Close all connections."""
        self._sessions.close()

    def admitted(self, exchange: Exchange) -> tuple[requests.Response, str]:
        """Return the answer 200 and the token that got it: the second token after a 401."""
        token = self._tokens.current(exchange.client)
        response, rejected = self._send_request(exchange, token)
        if rejected is not None:
            newer = self._tokens.renew(token, exchange.process_number)
            if newer != token:
                exchange.running.check()
                token = newer
                response, rejected = self._send_request(exchange, token)
        if rejected is not None:
            self._tokens.rejected(token, exchange.process_number, exchange.client)
            raise rejected
        return response, token

    def _send_request(
        self, exchange: Exchange, token: str
    ) -> tuple[requests.Response, AttemptError | None]:
        """Return the answer 200, or an answer that rejects the token. Raise every other one."""
        response = self._response(exchange, token)
        if is_whole(response, exchange.listed_size_bytes):
            return response, None
        with response:
            body = refusal_body(response, exchange.running)
        error = error_of(ErrorAnswer(response.status_code, response.headers, body))
        if error.reason != CREDENTIALS_REJECTED:
            raise error
        return response, error

    def _response(self, exchange: Exchange, token: str) -> requests.Response:
        try:
            with translated(exchange.running, is_answered=False):
                response = self._sessions.of_this_thread().fetch(
                    self._base_url,
                    _API + exchange.path,
                    {"Authorization": f"Bearer {token}"},
                    self._timeouts_s,
                    is_fresh=exchange.is_fresh,
                    size_bytes=exchange.listed_size_bytes,
                )
        except TransientError as error:
            self._signals.portal_answered(exchange.span, exchange.court, None)
            note_handshake(self._watch, TLS, error)
            raise
        except PortalUntrusted as error:
            self._signals.portal_answered(exchange.span, exchange.court, None)
            self._watch.failed(TLS, error)
            raise
        self._watch.succeeded(TLS)
        self._signals.portal_answered(exchange.span, exchange.court, response.status_code)
        return response
