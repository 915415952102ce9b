"""Test that a connection is reused only if its last answer was valid and complete."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.connection import HTTPConnection

from storage.http.connections import (
    InspectedHTTPPool,
    UnaskedAnswer,
    inspected_pools,
    is_kept_connection_closed,
)
from tests.network.byte_server import (
    INTERIM,
    ByteServer,
    Exchange,
    Script,
    answer,
    chunked,
    interim,
)
from tests.network.certificates import Certificate

BODY = b"%PDF-1.4 mine" * 20
OTHER = b"%PDF-1.4 other" * 20


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ssl.SSLContext, str] | None:
    """Return a server's TLS context and the file of its authority, or None without TLS."""
    if request.param == "http":
        return None
    authority = Certificate.authority()
    server = authority.for_loopback()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "pair.pem").write_bytes(server.key_pem + server.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    return context, str(tmp_path / "ca.pem")


@contextlib.contextmanager
def _serving(
    script: Script, tls: tuple[ssl.SSLContext, str] | None = None, **options: Any
) -> Iterator[tuple[ByteServer, InspectedHTTPPool]]:
    context, ca_file = tls or (None, None)
    trust: dict[str, Any] = {"ca_certs": ca_file} if ca_file else {}
    with (
        ByteServer(script, tls=context, **options) as server,
        inspected_pools(retries=False, timeout=10.0, **trust) as pools,
    ):
        pool = pools.connection_from_url(server.url)
        assert isinstance(pool, InspectedHTTPPool)
        yield server, pool
        pool.close()


def _get(pool: InspectedHTTPPool, method: str = "GET", *, at_once: bool = False) -> bytes:
    """Return the body of an answer, read in pieces or at once."""
    if at_once:
        return pool.urlopen(method, "/", redirect=False).data
    response = pool.urlopen(method, "/", redirect=False, preload_content=False)
    return b"".join(response.stream(64, decode_content=False))


def _sends(*answers: bytes) -> Script:
    """Answer each request with the next of these; repeat the last one."""

    def script(exchange: Exchange) -> None:
        exchange.send(answers[min(exchange.number, len(answers)) - 1])

    return script


CLEAN = {
    "by its length": answer(BODY),
    "empty": answer(b""),
    "chunked": chunked(BODY),
    "chunked with a trailer": chunked(BODY, trailer=b"X-Checksum: 1\r\n"),
    "chunked and empty": chunked(b""),
    "chunk extensions": chunked(BODY).replace(b"\r\n\r\n64\r\n", b"\r\n\r\n64 ;name=value\r\n"),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a refusal": answer(b"no", status="404 Not Found"),
    "HTTP/1.0 kept": answer(BODY, "Connection: keep-alive").replace(b"1.1", b"1.0", 1),
}


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("sent", CLEAN.values(), ids=list(CLEAN))
def test_a_connection_is_kept_after_a_whole_answer(
    sent: bytes, tls: tuple[ssl.SSLContext, str] | None, *, at_once: bool
) -> None:
    with _serving(_sends(sent), tls) as (server, pool):
        bodies = {_get(pool, at_once=at_once) for _ in range(3)}

    assert len(bodies) == 1
    assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.parametrize("before", INTERIM.values(), ids=list(INTERIM))
@pytest.mark.parametrize("sent", [answer(BODY), chunked(BODY)], ids=["length", "chunked"])
def test_interim_answers_are_passed_over(
    before: bytes, sent: bytes, tls: tuple[ssl.SSLContext, str] | None
) -> None:
    with _serving(_sends(before + sent), tls) as (server, pool):
        assert [_get(pool) for _ in range(3)] == [BODY] * 3

    assert (len(server.requests), server.connections) == (3, 1)


def _with_line(sent: bytes, line: bytes) -> bytes:
    return sent.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "line", [b"no field at all", b": no name", b"X : y", b"X: a\rb", b"\xff\xfe\x00", b" folded"]
)
@pytest.mark.parametrize("sent", [answer(BODY), chunked(BODY)], ids=["length", "chunked"])
def test_a_line_that_is_no_field_hides_no_other(sent: bytes, line: bytes, *, at_once: bool) -> None:
    # The server keeps the connection open: reading a body without an end lasts until the timeout.
    with _serving(_sends(_with_line(sent, line), answer(b"next"))) as (server, pool):
        assert _get(pool, at_once=at_once) == BODY
        assert _get(pool) == b"next"

    assert server.connections == 2


@pytest.mark.parametrize("length", ["260, 260", "0260", "260,", "260, 00260", ",260"])
def test_one_length_in_several_forms_is_that_length(length: str) -> None:
    sent = answer(BODY).replace(b": 260", f": {length}".encode())
    with _serving(_sends(sent)) as (_, pool):
        assert _get(pool) == BODY


def test_an_interim_answer_that_comes_apart_is_passed_over() -> None:
    def script(exchange: Exchange) -> None:
        for byte in interim() + answer(BODY):
            exchange.send(bytes([byte]))

    with _serving(script) as (server, pool):
        assert [_get(pool) for _ in range(2)] == [BODY] * 2

    assert server.connections == 1


@pytest.mark.parametrize(
    "flood",
    [interim("102 Processing") * 5_000, interim() * 900 + interim("103 x", f"X: {'x' * 300_000}")],
    ids=["too many", "too long"],
)
def test_a_flood_of_interim_answers_is_an_error(flood: bytes) -> None:
    with _serving(_sends(flood + answer(BODY), answer(BODY))) as (server, pool):
        with pytest.raises(urllib3.exceptions.ProtocolError):
            _get(pool)
        assert _get(pool) == BODY

    assert server.connections == 2


ODD = {
    "a line end behind the body": answer(BODY) + b"\r\n",
    "a byte behind the body": answer(BODY) + b"x",
    "an answer behind the body": answer(BODY) + answer(OTHER),
    "an interim answer behind the body": answer(BODY) + interim(),
    "much behind the body": answer(BODY) + answer(OTHER * 10_000),
    "an answer behind an empty body": answer(b"") + answer(OTHER),
    "an answer behind the chunks": chunked(BODY) + answer(OTHER),
    "an answer behind the trailer": chunked(BODY, trailer=b"X: y\r\n") + answer(OTHER),
    "a body behind 204": b"HTTP/1.1 204 No Content\r\n\r\n" + OTHER,
    "an answer behind 204": b"HTTP/1.1 204 No Content\r\n\r\n" + answer(OTHER),
    "an answer behind 304": b"HTTP/1.1 304 Not Modified\r\n\r\n" + answer(OTHER),
    "a length at 204": b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n" + answer(OTHER),
    "chunks at 204": b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n" + answer(OTHER),
    "101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer(OTHER),
    "101 alone": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "two equal lengths": answer(BODY, f"Content-Length: {len(BODY)}"),
    "length and chunks": chunked(BODY).replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n", 1),
    "a length in another writing": answer(BODY).replace(b": 260", b": +260"),
    "a field without a name": answer(BODY).replace(b"\r\n\r\n", b"\r\nno field at all\r\n\r\n"),
    "lines that end otherwise": chunked(BODY).replace(b"0\r\n\r\n", b"0\n\r\n"),
}


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("sent", ODD.values(), ids=list(ODD))
def test_a_connection_is_closed_after_anything_odd(
    sent: bytes, tls: tuple[ssl.SSLContext, str] | None, *, at_once: bool
) -> None:
    with _serving(_sends(sent, answer(b"next")), tls) as (server, pool):
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            assert _get(pool, at_once=at_once) in (BODY, b"")
        assert [_get(pool) for _ in range(2)] == [b"next"] * 2

    assert [request.connection for request in server.requests] == [1, 2, 2]


@pytest.mark.parametrize(
    "sent",
    [
        chunked(BODY).replace(b"64\r\n", b"0x64\r\n", 1),
        chunked(BODY).replace(b"64\r\n", b"-1\r\n", 1),
        chunked(BODY).replace(b"64\r\n", b"63\r\n", 1),
        chunked(BODY).replace(b"64\r\n", b"65\r\n", 1),
        chunked(BODY, trailer=b"X: y\r\n" * 20_000),
        answer(BODY).replace(b": 260", b": 261"),
    ],
)
def test_a_body_whose_end_is_unknown_is_an_error_and_closes(sent: bytes) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(sent if exchange.number == 1 else answer(b"next"))
        if exchange.number == 1:
            exchange.close()

    with _serving(script) as (server, pool):
        with pytest.raises(urllib3.exceptions.HTTPError):
            _get(pool)
        assert _get(pool) == b"next"

    assert server.connections == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_an_answer_whose_lengths_differ_has_a_head_but_no_body(*, at_once: bool) -> None:
    sent = _with_line(answer(BODY, status="201 Created"), b"Content-Length: 7")
    with _serving(_sends(sent, answer(b"next"))) as (server, pool):
        response = pool.urlopen("GET", "/", preload_content=False)
        assert response.status == 201
        with pytest.raises(urllib3.exceptions.ProtocolError):
            response.read() if at_once else next(response.stream(64))
        assert _get(pool) == b"next"

    assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
@pytest.mark.parametrize(
    "length", [b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"]
)
@pytest.mark.parametrize("rest", [b"", b"X-Next: 1\r\n", b"Content-Ty"])
def test_an_answer_whose_head_is_cut_is_not_whole(method: str, length: bytes, rest: bytes) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n" + length + rest)
        exchange.close()

    with _serving(script) as (_, pool):
        for at_once in (False, True):
            with pytest.raises(urllib3.exceptions.ProtocolError):
                _get(pool, method, at_once=at_once)


def test_an_answer_behind_that_of_head_is_not_the_next_ones() -> None:
    head = answer(BODY).removesuffix(BODY)
    with _serving(_sends(head + answer(OTHER), head, answer(b"next"))) as (server, pool):
        assert [_get(pool, "HEAD", at_once=True) for _ in range(2)] == [b""] * 2
        assert _get(pool) == b"next"

    assert [request.connection for request in server.requests] == [1, 2, 2]


def test_a_body_that_is_left_unread_closes_the_connection() -> None:
    with _serving(_sends(answer(BODY * 9_000), answer(b"next"))) as (server, pool):
        response = pool.urlopen("GET", "/", preload_content=False)
        assert response.read(10) == BODY[:10]
        response.release_conn()
        assert _get(pool) == b"next"

    assert server.connections == 2


@pytest.mark.parametrize("late", [b"x", b"\r\n", interim(), answer(OTHER)])
def test_what_comes_while_a_connection_rests_is_seen_before_it_is_used(
    late: bytes, tls: tuple[ssl.SSLContext, str] | None
) -> None:
    rests, is_sent = threading.Event(), threading.Event()

    def script(exchange: Exchange) -> None:
        exchange.send(answer(BODY))
        if exchange.number == 1:
            assert rests.wait(60)
            exchange.send(late)
            is_sent.set()

    with _serving(script, tls) as (server, pool):
        assert _get(pool) == BODY
        rests.set()
        assert is_sent.wait(60)
        assert [_get(pool) for _ in range(2)] == [BODY] * 2

    assert [request.connection for request in server.requests] == [1, 2, 2]


def test_what_a_server_sends_before_the_request_is_no_answer(
    tls: tuple[ssl.SSLContext, str] | None,
) -> None:
    with _serving(_sends(answer(BODY)), tls, greeting=answer(OTHER)) as (server, pool):
        connection = pool._new_conn()
        connection.connect()
        assert server.is_greeted.wait(60)
        with pytest.raises(UnaskedAnswer):
            connection.request("GET", "/")
        connection.close()

    assert server.requests == []


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_kept_connection_closed_in_the_moment_of_use_is_reported(how: str) -> None:
    def script(exchange: Exchange) -> None:
        if exchange.number == 1:
            exchange.send(answer(BODY))
        else:
            getattr(exchange, how)()

    with _serving(script) as (_, pool):
        assert _get(pool) == BODY
        for is_kept in (True, False):
            with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
                _get(pool)
            assert is_kept_connection_closed(caught.value) is is_kept


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_connection_reset_while_the_request_is_sent_is_classified_by_its_age(
    monkeypatch: pytest.MonkeyPatch, *, is_kept: bool
) -> None:
    with _serving(_sends(answer(BODY))) as (_, pool):
        if is_kept:
            assert _get(pool) == BODY
        reset = ConnectionResetError(104, "Connection reset by peer")
        monkeypatch.setattr(HTTPConnection, "request", _raises(reset))
        with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
            _get(pool)
        assert is_kept_connection_closed(caught.value) is is_kept


def _raises(error: Exception) -> Callable[..., None]:
    def request(*_: object, **__: object) -> None:
        raise error

    return request


@pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 20", interim()])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_that_broke_within_an_answer_was_not_closed_before_it(
    first: bytes, how: str
) -> None:
    def script(exchange: Exchange) -> None:
        if exchange.number == 1:
            exchange.send(answer(BODY))
        else:
            exchange.send(first)
            getattr(exchange, how)()

    with _serving(script) as (_, pool):
        assert _get(pool) == BODY
        with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
            _get(pool)
        assert not is_kept_connection_closed(caught.value)
