"""Test the proxy: it forwards all bytes until a test sets a fault."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from tests.network.loop_thread import LoopThread
from tests.network.proxy import Proxy
from tests.network.proxy_links import Trap

TIMEOUT_S = 60.0


class _Echo(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        while got := self.request.recv(1024):
            self.server.got.append(got)
            self.request.sendall(got)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.got: list[bytes] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Report nothing: these tests cut connections on purpose."""


@pytest.fixture
def server() -> Iterator[_Server]:
    """Yield a server that echoes what it receives, and records it."""
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: _Server) -> Iterator[Proxy]:
    """Yield a proxy in front of the server."""
    with LoopThread() as loop:
        proxy = Proxy(loop, ("127.0.0.1", int(server.server_address[1])))
        yield proxy
        proxy.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """Return an open connection through the proxy."""
    with _connected(proxy) as connection:
        assert _answer_to(connection, b"hello") == b"hello"
        yield connection


def _connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT_S)


def _answer_to(connection: socket.socket, question: bytes) -> bytes:
    connection.sendall(question)
    return connection.recv(1024)


def test_a_cut_breaks_what_is_there_and_nothing_else(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut()

    with pytest.raises(ConnectionError):
        _answer_to(client, b"x")
    with _connected(proxy) as another:
        assert _answer_to(another, b"y") == b"y"


def test_a_refused_client_is_accepted_after_resume(proxy: Proxy, client: socket.socket) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        _connected(proxy)

    proxy.resume()
    with _connected(proxy) as another:
        assert _answer_to(another, b"y") == b"y"


def test_what_is_stalled_goes_on_after_resume(
    proxy: Proxy, client: socket.socket, server: _Server
) -> None:
    proxy.stall()
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        _answer_to(client, b"late")
    assert server.got == [b"hello"]

    proxy.resume()
    client.settimeout(TIMEOUT_S)
    assert client.recv(1024) == b"late"


def test_a_lost_answer_is_one_to_what_was_done(
    proxy: Proxy, client: socket.socket, server: _Server
) -> None:
    proxy.set_trap(Trap("lose-answer", 1, b"COMMIT"))
    assert _answer_to(client, b"BEGIN") == b"BEGIN"

    with pytest.raises(ConnectionError):
        _answer_to(client, b"COMMIT")
    assert server.got[-1] == b"COMMIT"
    with _connected(proxy) as another:
        assert _answer_to(another, b"COMMIT") == b"COMMIT"


def test_what_is_cut_before_is_not_done(
    proxy: Proxy, client: socket.socket, server: _Server
) -> None:
    proxy.set_trap(Trap("cut-before", 1, b"COMMIT"))

    with pytest.raises(ConnectionError):
        _answer_to(client, b"COMMIT")
    assert server.got == [b"hello"]


def test_a_connection_is_cut_after_so_many_bytes(proxy: Proxy, client: socket.socket) -> None:
    proxy.set_trap(Trap("cut-down", 1, after_bytes=5))
    assert _answer_to(client, b"12345") == b"12345"

    with pytest.raises(ConnectionError):
        _answer_to(client, b"6")


def test_a_canned_answer_replaces_the_servers(proxy: Proxy, server: _Server) -> None:
    proxy.answer(b"503")

    with _connected(proxy) as connection:
        assert _answer_to(connection, b"PUT") == b"503"
    assert server.got == []


def test_a_cut_client_is_identified_by_the_port_that_the_server_saw(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.mark([int(client.getsockname()[1])], until=5.0)

    [(port, until)] = proxy.marks
    assert (port > 0, until) == (True, 5.0)
