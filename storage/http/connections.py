"""Connections that are inspected before and after each use, and the pools that keep them.

urllib3 puts a connection back as soon as a body has ended, whatever lies behind it, and takes the
next bytes for the next answer. Here a connection returns only after an answer that was read to its
proper end with nothing behind it, and is inspected again directly before the next request.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import queue
import socket
import ssl
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProtocolError

from storage.http.responses import INTERIM_MAX_S, FinalResponse, NoAnswer
from storage.http.sockets import byte_at_hand


class KeptConnectionClosed(http.client.RemoteDisconnected):
    """The server closed a connection that was used before; no byte of the answer had come."""


class UnaskedAnswer(http.client.HTTPException):
    """The server sent bytes before it was sent a request."""


class InspectedHTTPConnection(HTTPConnection):
    """A connection that knows whether it may carry another request."""

    interim_max_s = INTERIM_MAX_S

    _answers = 0  # on the present socket
    _answer: FinalResponse | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket; `request` inspects it."""
        return self.sock is not None

    @property
    def is_reusable(self) -> bool:
        """Whether its last answer left it as it was before the request."""
        return self._answer is not None and self._answer.is_reusable

    def connect(self) -> None:
        """Open a socket on which no answer has come yet."""
        self._answers = 0
        super().connect()

    def close(self) -> None:
        """Close the socket; an answer that is still being read keeps it open for itself."""
        self._answer = None
        super().close()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, on a new socket if anything can be read from the present one.

        Raises KeptConnectionClosed, UnaskedAnswer, or urllib3's errors.
        """
        if self._answers and self.sock is not None and not self._is_at_rest(self.sock):
            self.close()
        try:
            super().request(*args, **kwargs)
        except (ssl.SSLError, ConnectionError) as error:
            # Of a broken pipe urllib3 reads what the server has sent before.
            if self._answers and not isinstance(error, BrokenPipeError):
                raise KeptConnectionClosed("closed while the request was sent") from error
            raise

    def _is_at_rest(self, sock: socket.socket) -> bool:
        """Return whether nothing can be read, neither bytes nor the end of the connection."""
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
        """Make the answer of this request; http.client calls it."""
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
            # Sent, with the end of the connection, because it had rested for too long.
            response.close()
            raise KeptConnectionClosed("closed with 408")
        self._answers += 1
        return response


class InspectedHTTPSConnection(InspectedHTTPConnection, HTTPSConnection):
    """The same over TLS."""


class InspectedHTTPPool(HTTPConnectionPool):
    """A pool into which only connections return that may be used again."""

    ConnectionCls = InspectedHTTPConnection

    def close_kept(self) -> None:
        """Close the connections that wait for a request: the next one goes over a new one."""
        with contextlib.suppress(queue.Empty):
            while self.pool is not None:
                if connection := self.pool.get(block=False):
                    connection.close()

    def _put_conn(self, conn: Any) -> None:
        if conn is not None and not conn.is_reusable:
            conn.close()
        super()._put_conn(conn)


class InspectedHTTPSPool(InspectedHTTPPool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = InspectedHTTPSConnection


def inspected_pools(**options: Any) -> urllib3.PoolManager:
    """urllib3's pools of all servers, with connections that are inspected."""
    pools = urllib3.PoolManager(**options)
    pools.pool_classes_by_scheme = {"http": InspectedHTTPPool, "https": InspectedHTTPSPool}
    return pools


def is_kept_connection_closed(error: ProtocolError) -> bool:
    """Whether the request can be made again as if it had not been made: KeptConnectionClosed."""
    return any(isinstance(argument, KeptConnectionClosed) for argument in error.args)
