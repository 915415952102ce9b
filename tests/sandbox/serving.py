"""Shared parts of the sandbox's servers: start, stop, and answers sent without stalls."""

from __future__ import annotations

import contextlib
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.sandbox.replies import Reply

# Seconds until a server detects that a client disconnected while it waited for an answer.
NOTICE_S = 0.05
# Seconds between interim answers and the answer, like the time of a real server to make one.
INTERIM_PAUSE_S = 0.02


class Server(ThreadingHTTPServer):
    """Serves on `host` between `__enter__` and `__exit__`, and leaves no thread behind."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type[Handler], host: str = "127.0.0.1") -> None:
        super().__init__((host, port), handler)
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        # Stopping takes up to one poll interval; tests start and stop many servers.
        self._loop = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._loop.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self.shutdown()
        self._loop.join()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=5)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def server_bind(self) -> None:
        # HTTPServer resolves the name of its own address, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.port

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], address: object
    ) -> None:
        # Recorded before the thread starts, so that stopping cannot miss it.
        if isinstance(request, socket.socket):
            with self._changed:
                self._open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        super().shutdown_request(request)
        if isinstance(request, socket.socket):
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that disconnect are part of the tests; any other error is a bug of the sandbox.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _nothing() -> None:
    pass


class Handler(BaseHTTPRequestHandler):
    """Sends `Reply` values. Output is buffered: headers and a small body leave in one packet."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, *arguments: object) -> None:
        """Write nothing to stderr: the sandbox has its own log."""

    def answer(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.rfile.close()

    def read_body(self) -> bytes:
        """Return the body; a client that disconnects in the middle has sent no request."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError
        return body

    def pause(self, seconds: float) -> None:
        """Send all written bytes, then wait; end the connection when the server stops."""
        self.wfile.flush()
        if self.server.closing.wait(seconds):
            raise ConnectionAbortedError

    def wait(self, seconds: float) -> None:
        """Wait before an answer; end the connection also when the client disconnects meanwhile."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self.pause(min(left_s, NOTICE_S))
            if self._has_hung_up():
                raise ConnectionAbortedError

    def _has_hung_up(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def send_reply(self, reply: Reply, before_end: Callable[[], None] = _nothing) -> None:
        """Send the whole reply. `before_end` is called before its last byte is sent."""
        if reply.interim:
            self.wfile.write(reply.interim)
            self.pause(INTERIM_PAUSE_S)
        self._send_headers(reply)
        left = reply.length
        for piece in filter(None, reply.body):
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    before_end()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.is_chunked else piece)
            if reply.pause_s:
                self.pause(reply.pause_s)
        before_end()
        if reply.is_chunked and not reply.is_cut:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _send_headers(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.length is not None and reply.status != 204:
            self.send_header("Content-Length", str(reply.length))
        elif reply.status != 204:
            self.send_header("Connection", "close")
        self.end_headers()
        if reply.is_cut:
            self.close_connection = True


def wait_for_a_signal() -> None:
    """Return on Ctrl-C or SIGTERM, so that the caller closes its resources in order."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
