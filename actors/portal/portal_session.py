"""HTTP for the portal: one session per thread, kept alive, watched, isolated from its environment.

No redirects, no retries, no cookies, no proxies or netrc from the environment, no decompression.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Protocol, cast

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ProtocolError

from actors.resilience.exchange_deadline import WATCHED_POOLS
from storage.http.connections import InspectedHTTPPool, is_kept_connection_closed
from storage.http.responses import FinalResponse

# How many earlier requests of a connection could still get a second answer.
_RECENT = 8
# The firewall rejects clients that do not identify themselves as a browser.
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Safari/537.36"
)


class _HasOriginal(Protocol):
    """The part of urllib3's response that holds the one of http.client."""

    _original_response: FinalResponse | None


@dataclass(frozen=True, slots=True)
class _Earlier:
    """An earlier request of a connection, and its answer."""

    path: str
    size_bytes: int | None
    answer: FinalResponse | None

    def could_be(self, path: str, size_bytes: int | None) -> bool:
        """Return whether a second answer to this request could pass for the file at `path`.

        The size of a chunked body is known only when it was read, so it is compared here.
        """
        if size_bytes is None or path == self.path:
            return False
        sizes = (self.size_bytes, self._received_bytes())
        return size_bytes in sizes or sizes == (None, None)

    def _received_bytes(self) -> int | None:
        """Return the size of the file in the answer; None if it is a refusal, or compressed."""
        answer = self.answer
        if answer is None or answer.status >= 300 or "Content-Encoding" in answer.headers:
            return None
        return answer.body_bytes


class PortalSession(requests.Session):
    """A session for one thread, and for one server at a time.

    `ca_file`: the authorities that may sign the server's certificate; None: those of browsers.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        super().__init__()
        self.verify = str(ca_file) if ca_file else certifi.where()
        # A thread runs one exchange at a time.
        self._adapter = _WatchedAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._pools: dict[str, InspectedHTTPPool] = {}
        self._recent: deque[_Earlier] = deque(maxlen=_RECENT)
        self.mount("https://", self._adapter)
        self.mount("http://", self._adapter)
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.clear()
        self.headers.update(
            {
                "User-Agent": USER_AGENT,
                "Accept": "*/*",
                "Accept-Language": "pt-BR,pt;q=0.9",
                "Accept-Encoding": "identity",
                "Connection": "keep-alive",
            }
        )

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: with allow_redirects=False, requests still reads a redirect's whole body."""
        return None

    def fetch(
        self,
        base_url: str,
        path: str,
        headers: dict[str, str],
        timeouts_s: tuple[float, float],
        *,
        is_fresh: bool = False,
        size_bytes: int | None = None,
    ) -> requests.Response:
        """Return the answer to a GET with its body unread. `is_fresh`: on a new connection.

        `size_bytes`: the size that proves the answer's body. It does not distinguish the body from
        a late second answer of the same size, so the request gets a new connection after one.

        The function does the work of `get`, without the parts that are switched off anyway
        (cookies, redirects, proxies, hooks). Those cost as much processor time as the fetch of a
        small file. Raises urllib3's errors.
        """
        if base_url not in self._pools:
            self._pools[base_url] = self._adapter.pool(base_url, str(self.verify))
        pool = self._pools[base_url]
        is_alike = any(each.could_be(path, size_bytes) for each in self._recent)
        if is_fresh or is_alike:
            pool.close_kept()
            self._recent.clear()
        try:
            raw = self._opened(pool, path, headers, timeouts_s)
        except ProtocolError as error:
            if not is_kept_connection_closed(error):
                raise
            # The portal had closed it before it received the request, so this is no second attempt.
            raw = self._opened(pool, path, headers, timeouts_s)
        response = requests.Response()
        response.status_code, response.raw = raw.status, raw
        response.headers = CaseInsensitiveDict(raw.headers)
        self._recent.append(
            _Earlier(path, size_bytes, cast("_HasOriginal", raw)._original_response)
        )
        return response

    def _opened(
        self,
        pool: InspectedHTTPPool,
        path: str,
        headers: dict[str, str],
        timeouts_s: tuple[float, float],
    ) -> urllib3.BaseHTTPResponse:
        connect_s, read_s = timeouts_s
        return pool.urlopen(
            "GET",
            requests.utils.requote_uri(path),
            headers=dict(self.headers, **headers),  # type: ignore[arg-type]
            timeout=urllib3.Timeout(connect=connect_s, read=read_s),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )


class ThreadSessions:
    """A session for each requesting thread; threads that end leave nothing behind."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[PortalSession] = weakref.WeakSet()

    def of_this_thread(self) -> PortalSession:
        """Return the calling thread's session."""
        session: PortalSession | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = PortalSession(self._ca_file)
            with self._lock:
                self._all.add(session)
        return session

    def close(self) -> None:
        """Close all connections. No exchange may be running."""
        with self._lock:
            for session in self._all:
                session.close()


class _WatchedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = WATCHED_POOLS

    def pool(self, base_url: str, ca_file: str) -> InspectedHTTPPool:
        """Return the connections to a server; its certificate is checked."""
        trust = {"cert_reqs": "CERT_REQUIRED", "ca_certs": ca_file}
        is_tls = base_url.startswith("https:")
        pool: InspectedHTTPPool = self.poolmanager.connection_from_url(
            base_url, trust if is_tls else None
        )
        return pool


class TokenSource(Protocol):
    """The source of the token for the portal's client. Threads may share it."""

    def current(self, client: str = "") -> str:
        """Return the token to send for a job of `client`.

        Raises CredentialsRefused or ServiceUnavailable.
        """

    def renew(self, refused: str, process_number: str) -> str:
        """Return another token after a case got a 401 for `refused`; `refused` itself if there is
        none.

        Raises CredentialsRefused or ServiceUnavailable.
        """

    def rejected(self, token: str, process_number: str, client: str = "") -> None:
        """Record that a case of `client` got a 401, and no other token helps.

        Raises CredentialsRefused if more than that case is concerned.
        """

    def accepted(self, token: str, at: float) -> None:
        """Record that a good answer came for `token`, at `at` of time.monotonic()."""
