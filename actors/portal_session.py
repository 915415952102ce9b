"""HTTP as the portal wants it: one session a thread, kept alive, watched, trusting nothing around.

No redirects, no retries, no cookies, no proxies or netrc from the environment, no decompression.
"""

from __future__ import annotations

import threading
import weakref
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from actors.deadline import WATCHED_POOLS

# The firewall turns away what does not look like a browser.
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Safari/537.36"
)


class ThreadSessions:
    """A session for each thread that asks; threads that end leave nothing behind."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[requests.Session] = weakref.WeakSet()

    def of_this_thread(self) -> requests.Session:
        """The calling thread's session."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = new_session()
            with self._lock:
                self._all.add(session)
        return session

    def close(self) -> None:
        """Closes all connections. No exchange may be running."""
        with self._lock:
            for session in self._all:
                session.close()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """None: even with allow_redirects=False, requests would read a redirect's whole body."""
        return None


class _WatchedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = WATCHED_POOLS


def new_session() -> requests.Session:
    """A session like that, for one thread."""
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update(
        {
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Language": "pt-BR,pt;q=0.9",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
        }
    )
    # A thread runs one exchange at a time.
    adapter = _WatchedAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
