"""Connections that are inspected before and after each use, and the pools that keep them.

urllib3 returns a connection to its pool as soon as a body has ended, whatever bytes follow it, and
takes the next bytes for the next answer. Here a connection returns only after an answer that was
read to its proper end, with no byte behind it. It is inspected again directly before the next
request.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import queue
import socket
import ssl
from typing import Any, TypeVar, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProtocolError

from storage.http.responses import INTERIM_MAX_S, FinalResponse, NoAnswer

Pools = TypeVar("Pools", bound=urllib3.PoolManager)


class KeptConnectionClosed(http.client.RemoteDisconnected):
    """The server closed a reused connection before the first byte of the answer."""


class UnaskedAnswer(http.client.HTTPException):
    """The server sent bytes before it received a request."""


class InspectedHTTPConnection(HTTPConnection):
    """A connection that records whether it may carry another request."""

    interim_max_s = INTERIM_MAX_S

    _answers = 0  # on the current socket
    _answer: FinalResponse | None = None

    @property
    def is_connected(self) -> bool:
        """Return whether there is a socket; `request` inspects it."""
        return self.sock is not None

    @property
    def is_reusable(self) -> bool:
        """Return whether the last answer left the connection usable."""
        return self._answer is not None and self._answer.is_reusable

    def connect(self) -> None:
        """Open a socket without any answer yet."""
        self._answers = 0
        super().connect()

    def close(self) -> None:
        """Close the socket. An answer that is still being read keeps it open for itself."""
        self._answer = None
        super().close()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, on a new socket if the current one has unread bytes.

        Raises KeptConnectionClosed, UnaskedAnswer, or urllib3's errors.
        """
        if self._answers and self.sock is not None and not self._is_at_rest(self.sock):
            self.close()
        try:
            super().request(*args, **kwargs)
        except (ssl.SSLError, ConnectionError) as error:
            # After a broken pipe, urllib3 reads the bytes that the server sent before.
            if self._answers and not isinstance(error, BrokenPipeError):
                raise KeptConnectionClosed("closed while the request was sent") from error
            raise

    def _is_at_rest(self, sock: socket.socket) -> bool:
        """Return whether there is nothing to read, neither bytes nor the end of the connection."""
        with contextlib.suppress(ssl.SSLError):
            return byte_at_hand(sock) is None
        return False

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Send the head. Raises UnaskedAnswer if a new socket has bytes already."""
        if self.sock is None:
            self.connect()
        if not self._answers and byte_at_hand(cast("socket.socket", self.sock)):
            raise UnaskedAnswer("bytes before the request")
        super().endheaders(*args, **kwargs)

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> FinalResponse:  # type: ignore[override]
        """Make the answer of this request. http.client calls this method."""
        self._answer = FinalResponse(sock, *args, interim_max_s=self.interim_max_s, **kwargs)
        return self._answer

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """Read the answer. Raises KeptConnectionClosed, NoAnswer, or urllib3's errors."""
        try:
            response = super().getresponse()
        except NoAnswer as error:
            if self._answers:
                raise KeptConnectionClosed("closed before the answer") from error
            raise
        is_timeout = response.status == http.HTTPStatus.REQUEST_TIMEOUT
        if self._answers and is_timeout and not self.is_connected:
            # The server sent it, with the end of the connection, because the connection was idle
            # too long.
            response.close()
            raise KeptConnectionClosed("closed with 408")
        self._answers += 1
        return response


class InspectedHTTPSConnection(InspectedHTTPConnection, HTTPSConnection):
    """An inspected connection over TLS."""


class InspectedHTTPPool(HTTPConnectionPool):
    """A pool that takes only reusable connections back."""

    ConnectionCls = InspectedHTTPConnection

    def close_kept(self) -> None:
        """Close the idle connections: the next request uses a new one."""
        with contextlib.suppress(queue.Empty):
            while self.pool is not None:
                if connection := self.pool.get(block=False):
                    connection.close()

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and not conn.is_reusable:
            conn.close()
        super()._put_conn(conn)


class InspectedHTTPSPool(InspectedHTTPPool, HTTPSConnectionPool):
    """An inspected pool over TLS."""

    ConnectionCls = InspectedHTTPSConnection


def inspected_pools(kind: type[Pools] = urllib3.PoolManager, **options: Any) -> Pools:  # type: ignore[assignment]
    """Return urllib3's pools for all servers, with inspected connections. `kind`: their class."""
    pools = kind(**options)
    pools.pool_classes_by_scheme = {"http": InspectedHTTPPool, "https": InspectedHTTPSPool}
    return pools


def is_kept_connection_closed(error: ProtocolError) -> bool:
    """Return whether the request may be sent again as a new one: KeptConnectionClosed."""
    return any(isinstance(argument, KeptConnectionClosed) for argument in error.args)


def byte_at_hand(sock: socket.socket) -> bytes | None:
    """Take one byte if one is ready. None: there is none. Empty: the peer has ended.

    Raises ssl.SSLError for an alert of the peer, which is read only once.
    """
    # Not poll(): TLS may hold decrypted bytes, and its own messages (session tickets, new keys)
    # make a socket readable although no byte of an answer is there.
    timeout_s = sock.gettimeout()
    sock.settimeout(0)
    try:
        return sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return b""
    except ssl.SSLError:
        raise
    except OSError:
        return b""
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(timeout_s)
