"""A server that answers byte for byte on persistent connections, by a test's script.

It adds no byte of its own: the client gets what a `Script` sends, in that order.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

WAIT_S = 60.0


@dataclass(frozen=True)
class ByteRequest:
    """A request as it arrived: method, path, head, body and the number of its connection."""

    method: str
    path: str
    head: bytes
    body: bytes
    connection: int


@dataclass
class Exchange:
    """A request, and the methods to answer it."""

    request: ByteRequest
    number: int
    _socket: socket.socket = field(repr=False)

    def send(self, data: bytes) -> None:
        """Send these bytes at once."""
        self._socket.sendall(data)

    def close(self) -> None:
        """End the connection in order: the client reads an end of file."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def reset(self) -> None:
        """Break the connection: the client's next read fails."""
        linger = b"\1\0\0\0\0\0\0\0"
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()


Script = Callable[[Exchange], None]


class ByteServer:
    """Calls `script` with each request on 127.0.0.1; `greeting` is sent before the first one."""

    def __init__(
        self, script: Script, *, greeting: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> None:
        self._script, self._greeting, self._tls = script, greeting, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._accepted = 0
        self.requests: list[ByteRequest] = []
        self.is_greeted = threading.Event()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Return the number of connections that brought requests."""
        return len({request.connection for request in self.requests})

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                self._sockets.append(accepted)
                self._accepted += 1
                self._start(self._serve, accepted, self._accepted)

    def _serve(self, accepted: socket.socket, connection: int) -> None:
        with accepted, contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted
            # Wrapping leaves `accepted` without its descriptor.
            self._sockets.append(peer)
            with peer:
                if self._greeting:
                    peer.sendall(self._greeting)
                    self.is_greeted.set()
                while request := _read_request(peer, connection):
                    with self._lock:
                        self.requests.append(request)
                        number = len(self.requests)
                    self._script(Exchange(request, number, peer))


def _read_request(peer: socket.socket, connection: int) -> ByteRequest | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65_536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        piece = peer.recv(65_536)
        if not piece:
            return None
        body += piece
    method, path, _ = head.decode("latin-1").split(" ", 2)
    return ByteRequest(method, path, head, body, connection)


def answer(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """Return a complete answer, framed by its length."""
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, *, trailer: bytes = b"", step: int = 100) -> bytes:
    """Return a complete answer in chunks."""
    pieces = [body[i : i + step] for i in range(0, len(body), step)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + coded + b"0\r\n" + trailer + b"\r\n"


def interim(status: str = "103 Early Hints", *fields: str) -> bytes:
    """Return an interim answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode()


# Bytes that servers send before their answers.
INTERIM = {
    "none": b"",
    "100": interim("100 Continue"),
    "102": interim("102 Processing"),
    "103": interim("103 Early Hints", "Link: </main.css>; rel=preload", "Content-Length: 9"),
    "another": interim("199 Whatever"),
    "several": interim("100 Continue") + interim("102 Processing") + interim() * 3,
    "many": interim("102 Processing") * 500,
    "no reason": b"HTTP/1.1 103\r\n\r\n",
    "bare lines": b"HTTP/1.1 103 Early Hints\nLink: </a>\n\n",
}
