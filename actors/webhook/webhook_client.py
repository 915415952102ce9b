"""Post a webhook to its receiver, and to no other address.

The host name is resolved once, every address is checked, and the connection uses a checked address.
A second resolution could return another address (DNS rebinding). The Host header, SNI and the
certificate check use the host name. A request goes directly to its adapter: without a
requests.Session there are no redirects, cookies, proxies or netrc. Each post has its own
connection, because posts to one receiver are rare and a kept connection would outlive the check of
its address.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from actors.resilience.exchange_deadline import WATCHED_POOLS, Deadline, Watchdog
from actors.resilience.retry import seconds_until
from storage.errors import AutosError, InvalidRequest, TransientError
from storage.webhook_policy import DEFAULT_PORTS, WebhookPolicy

TOTAL_S = 15.0
MAX_ANSWER_BYTES = 4_096
MAX_RETRY_AFTER = timedelta(days=7)

Resolve = Callable[[str, int], list[str]]

# urllib3 logs warnings about odd headers with the whole URL. A webhook's query must not be logged.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class DeliveryError(AutosError):
    """A post got no answer.

    `message` may be shown to callers. `is_final`: the address rules refuse the receiver; do not
    retry. `is_timeout`: the receiver took too long.
    """

    reason = "WEBHOOK_NOT_DELIVERED"

    def __init__(self, message: str, *, is_final: bool = False, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_final = is_final
        self.is_timeout = is_timeout


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's answer. `retry_after_s` is None if the header is missing or invalid."""

    status: int
    retry_after_s: float | None


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of `host` in the order of preference. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class WebhookClient:
    """Post webhooks. One client serves all threads of a process.

    `total_s`: the time limit of one post in seconds. Tests can replace `resolve` and `ca_bundle` (a
    file of certificates that replaces certifi's).
    """

    def __init__(
        self,
        receivers: WebhookPolicy,
        watchdog: Watchdog,
        *,
        total_s: float = TOTAL_S,
        resolve: Resolve = resolve,
        ca_bundle: str | None = None,
    ) -> None:
        self._receivers = receivers
        self._watchdog = watchdog
        self._total_s = total_s
        # The watchdog can cut a socket only after name resolution, connect and TLS handshake. Each
        # of the three takes at most a third of the total, so that together they stay within it.
        self._phase_s = total_s / 3
        self._resolve = resolve
        self._verify = ca_bundle or True

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post `body` to `url` and return the answer, whatever its status.

        Raises DeliveryError if there was no answer, or if the address rules forbid the post.
        """
        try:
            checked = self._receivers.check(url)
        except InvalidRequest as error:
            raise DeliveryError(error.violations[0].description, is_final=True) from error
        request = _prepared(checked, headers, body)
        with self._watchdog.limit(self._total_s) as deadline:
            addresses = self._addresses(checked)
            try:
                return self._first_answer(addresses, request, deadline)
            except _FOREIGN_ERRORS as error:
                is_timeout = deadline.remaining_s == 0 or _has_cause(error, TimeoutError)
                message = self._explain(error, deadline)
                raise DeliveryError(message, is_timeout=is_timeout) from error

    def _addresses(self, url: str) -> list[str]:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        try:
            addresses = _within(self._phase_s, lambda: self._resolve(host, port))
        except TimeoutError as error:
            message = f"The look-up of {host} took too long."
            raise DeliveryError(message, is_timeout=True) from error
        except OSError as error:
            raise DeliveryError(f"The name {host} does not resolve.") from error
        if not addresses:
            raise DeliveryError(f"The name {host} does not resolve.")
        if not all(self._receivers.may_connect(host, port, ip_address(a)) for a in addresses):
            raise DeliveryError(f"{host} resolves to an address that is not public.", is_final=True)
        return addresses

    def _first_answer(
        self, addresses: list[str], request: requests.PreparedRequest, deadline: Deadline
    ) -> Answer:
        """Return the answer of the first address that accepts the connection."""
        connect_until = time.monotonic() + self._phase_s
        *others, last = addresses
        for address in others:
            try:
                return self._post_to(address, request, connect_until, deadline)
            except requests.ConnectionError as error:
                is_over = time.monotonic() >= connect_until
                if is_over or not _has_cause(error, urllib3.exceptions.NewConnectionError):
                    raise
        return self._post_to(last, request, connect_until, deadline)

    def _post_to(
        self,
        address: str,
        request: requests.PreparedRequest,
        connect_until: float,
        deadline: Deadline,
    ) -> Answer:
        timeout = (max(0.01, connect_until - time.monotonic()), self._total_s)
        with (
            contextlib.closing(_PinnedAdapter(address)) as adapter,
            adapter.send(request, stream=True, timeout=timeout, verify=self._verify) as response,
        ):
            deadline.check()  # headers that were cut off look like headers that ended
            # The answer is complete from here on. The body is read only so that a receiver that is
            # still writing is not interrupted.
            with contextlib.suppress(*_FOREIGN_ERRORS):
                response.raw.read(MAX_ANSWER_BYTES, decode_content=False)
            return Answer(
                response.status_code, parse_retry_after(response.headers.get("Retry-After"))
            )

    def _explain(self, error: BaseException, deadline: Deadline) -> str:
        """Return the message for a failed exchange, never a library's text: it contains the URL."""
        if deadline.remaining_s == 0:
            return f"The receiver did not answer within {self._total_s:g} seconds."
        return next(
            (message for kind, message in _MESSAGES if _has_cause(error, kind)),
            "The connection to the receiver failed.",
        )


class _PinnedAdapter(HTTPAdapter):
    """Connect to `address`. Everything else, also the certificate check, uses the URL's host."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__(pool_connections=1, pool_maxsize=1)
        self.poolmanager.pool_classes_by_scheme = WATCHED_POOLS

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        tls = {"server_hostname": host["host"]} if host["scheme"] == "https" else {}
        return {**host, "host": self._address}, {**pool, **tls}


def _prepared(url: str, headers: Mapping[str, str], body: bytes) -> requests.PreparedRequest:
    ours = {"Host": urlsplit(url).netloc, "Connection": "close"}
    # A stream, because bytes would be one send with the connect timeout for the whole body.
    return requests.Request(
        "POST", url, headers={"User-Agent": "Autos", **headers, **ours}, data=io.BytesIO(body)
    ).prepare()


_FOREIGN_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    TransientError,  # of the deadline
)
# The first entry that matches one of an error's causes gives the message.
_MESSAGES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "The receiver's TLS certificate could not be verified."),
    (ssl.SSLError, "The TLS connection to the receiver failed."),
    (ConnectionRefusedError, "The receiver refused the connection."),
    (urllib3.exceptions.NewConnectionError, "The receiver cannot be reached."),
    (urllib3.exceptions.TimeoutError, "The receiver was too slow to take the connection."),
    (TimeoutError, "The receiver was too slow to take the body."),
    (ConnectionError, "The receiver closed the connection before it answered."),
    (http.client.HTTPException, "The receiver's answer is not HTTP."),
)


def parse_retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header.

    Return None if it is missing, invalid, in the past, or more than MAX_RETRY_AFTER ahead.
    """
    seconds = seconds_until(text, now or datetime.now(UTC))
    if seconds is None or not 0 <= seconds <= MAX_RETRY_AFTER.total_seconds():
        return None
    return seconds


def _has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _within(limit_s: float, look_up: Callable[[], list[str]]) -> list[str]:
    """Return the result of `look_up`. Raises TimeoutError after `limit_s` seconds.

    getaddrinfo has no timeout. Each look-up has its own thread, so that one that hangs delays no
    other. The thread is a daemon, so that it does not delay the end of the process.
    """
    result: Future[list[str]] = Future()

    def run() -> None:
        try:
            result.set_result(look_up())
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            result.set_exception(error)

    threading.Thread(target=run, name="resolver", daemon=True).start()
    return result.result(timeout=limit_s)
