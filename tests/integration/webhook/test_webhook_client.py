"""Test that a post keeps its total time, and reaches no address but the checked one.

Receivers are plain sockets on loopback, so that they can misbehave at any point.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.resilience.exchange_deadline import Watchdog
from actors.webhook.webhook_client import (
    Answer,
    DeliveryError,
    WebhookClient,
    parse_retry_after,
    resolve,
)
from storage.webhook_policy import WebhookPolicy
from tests.timing import quickest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# For tests without timing: the phases of a post are thirds of it, and a machine may stall.
TOTAL_S = 60.0
# For tests of timing: each of them lasts this long.
SHORT_S = 3.0
SLACK_S = 0.6  # The watchdog's tick.

WATCHDOG = Watchdog()

T = TypeVar("T")

Behaviour = Callable[[socket.socket, "Receiver"], None]


class Receiver(socketserver.ThreadingTCPServer):
    """Handles each connection by a script; `requests` are the heads and bodies it read."""

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), socketserver.BaseRequestHandler)
        self.port: int = self.server_address[1]
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.is_over = threading.Event()
        self.is_done = threading.Event()
        self._behaviour = behaviour

    def finish_request(self, request: object, client_address: object) -> None:  # noqa: ARG002
        assert isinstance(request, socket.socket)
        self.connections += 1
        with contextlib.suppress(OSError):
            self._behaviour(request, self)
        self.is_done.set()

    def read(self, connection: socket.socket) -> None:
        """Read one request."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = int(text.lower().partition("content-length: ")[2].partition("\r\n")[0])
        while len(body) < length:
            body += connection.recv(65_536)
        self.requests.append((text, body))


@contextlib.contextmanager
def receiver(behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    with Receiver(behaviour, address, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
            thread.join()


def answering(answer: bytes) -> Behaviour:
    def behave(connection: socket.socket, server: Receiver) -> None:
        server.read(connection)
        connection.sendall(answer)

    return behave


def dripping(start: bytes, *, reads: bool = True) -> Behaviour:
    """Send `start`, and then single bytes at intervals until the test is over."""

    def behave(connection: socket.socket, server: Receiver) -> None:
        if reads:
            server.read(connection)
        connection.sendall(start)
        while not server.is_over.wait(0.05):
            connection.sendall(b"x")

    return behave


def closing(connection: socket.socket, server: Receiver) -> None:
    pass


def speaking_first(connection: socket.socket, server: Receiver) -> None:
    connection.sendall(OK)
    server.is_over.wait()


def hanging(connection: socket.socket, server: Receiver) -> None:
    server.is_over.wait()


def poster(
    *allowed: str,
    total_s: float = TOTAL_S,
    resolve: Callable[[str, int], list[str]] = resolve,
    ca_bundle: str | None = None,
) -> WebhookClient:
    receivers = WebhookPolicy.from_entries(allowed)
    return WebhookClient(receivers, WATCHDOG, total_s=total_s, resolve=resolve, ca_bundle=ca_bundle)


def finding(*answers: list[str]) -> Callable[[str, int], list[str]]:
    """Return a resolver that gives each of `answers` once."""
    left = list(answers)
    return lambda *_: left.pop(0)


def post_to(server: Receiver, path: str = "/", *, total_s: float = TOTAL_S) -> Answer:
    host = f"127.0.0.1:{server.port}"
    return poster(host, total_s=total_s).post(f"http://{host}{path}", {}, b"{}")


def failure_of(post: Callable[[], Answer]) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        post()
    assert caught.value.message == str(caught.value)
    return caught.value


def quickest_of(post: Callable[[], T]) -> T:
    """Return the result of a post within SHORT_S, from the first try that is in time.

    A try may meet a stall of the machine; one of several has to be in time.
    """
    results: list[T] = []

    def took_s() -> float:
        start = time.monotonic()
        results.append(post())
        return time.monotonic() - start

    limit_s = SHORT_S + SLACK_S
    assert quickest(took_s, limit_s) < limit_s
    return results[-1]


def test_receiver_gets_body_headers_and_its_name() -> None:
    with receiver(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        host = f"localhost:{server.port}"

        answer = poster(host).post(
            f"http://{host}/a?b=ç",
            {"webhook-id": "msg_1", "Content-Type": "application/json"},
            b"{}",
        )

    assert answer == Answer(204, None)
    ((head, body),) = server.requests
    assert body == b"{}"
    request_line, *lines = head.split("\r\n")
    assert request_line == "POST /a?b=%C3%A7 HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers.pop("Accept-Encoding") == "identity"
    assert headers == {
        "Host": host,
        "User-Agent": "Autos",
        "webhook-id": "msg_1",
        "Content-Type": "application/json",
        "Content-Length": "2",
        "Connection": "close",
    }


@pytest.mark.parametrize("status", [200, 201, 299, 400, 404, 410, 429, 500, 503])
def test_every_status_is_an_answer(status: int) -> None:
    with receiver(answering(b"HTTP/1.1 %d X\r\nRetry-After: 120\r\n\r\n" % status)) as server:
        assert post_to(server) == Answer(status, 120.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with receiver(answering(OK)) as target:
        location = f"Location: http://127.0.0.1:{target.port}/\r\n\r\n".encode()
        with receiver(answering(b"HTTP/1.1 %d X\r\n" % status + location)) as server:
            allowed = f"127.0.0.1:{server.port}", f"127.0.0.1:{target.port}"

            answer = poster(*allowed).post(f"http://{allowed[0]}/", {}, b"{}")

    assert answer.status == status
    assert len(server.requests) == 1
    assert target.connections == 0


def test_nothing_is_kept_between_two_posts() -> None:
    with receiver(answering(OK.replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\n", 1))) as server:
        host = f"127.0.0.1:{server.port}"
        one = poster(host)
        for _ in range(2):
            one.post(f"http://{host}/", {}, b"{}")

    assert server.connections == 2
    assert "cookie" not in server.requests[1][0].lower()


def test_environment_brings_no_proxy_and_no_credentials(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret")
    script = (
        "import sys; from tests.integration.webhook.test_webhook_client import poster; "
        "print(poster(sys.argv[1]).post(f'http://{sys.argv[1]}/', {}, b'x').status)"
    )
    with receiver(answering(OK)) as proxy, receiver(answering(OK)) as server:
        at_proxy = f"http://127.0.0.1:{proxy.port}"
        done = subprocess.run(
            [sys.executable, "-c", script, f"127.0.0.1:{server.port}"],
            env={**os.environ, "http_proxy": at_proxy, "ALL_PROXY": at_proxy, "NETRC": str(netrc)},
            capture_output=True,
            text=True,
            check=True,
        )

    assert done.stdout == "200\n"
    assert proxy.connections == 0
    assert "authorization" not in server.requests[0][0].lower()


def test_only_the_start_of_an_endless_answer_is_read() -> None:
    sent = []

    def endless(connection: socket.socket, server: Receiver) -> None:
        server.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.is_over.is_set():
            sent.append(connection.send(b"x" * 65_536))

    with receiver(endless) as server:
        start = time.monotonic()
        answer = post_to(server)
        elapsed_s = time.monotonic() - start
        assert server.is_done.wait(60), "the connection was not closed"

    assert answer.status == 200
    assert elapsed_s < TOTAL_S / 2, "it was read until the time was over"
    assert sum(sent) < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "behave",
    [
        hanging,
        dripping(b""),
        dripping(b"HTTP/1.1 200 OK\r\nX: "),
        dripping(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\nX: "),
    ],
    ids=["hangs", "drips", "drips a header", "drips after an interim answer"],
)
def test_receiver_that_does_not_answer_costs_no_more_than_the_total(behave: Behaviour) -> None:
    with receiver(behave) as server:
        error = quickest_of(lambda: failure_of(lambda: post_to(server, total_s=SHORT_S)))

    assert error.message == "The receiver did not answer within 3 seconds."
    assert error.is_timeout
    assert not error.is_final


@pytest.mark.parametrize("head", [b"Content-Length: 900\r\n\r\n", b"\r\n"], ids=["sized", "open"])
def test_status_counts_although_the_body_drips(head: bytes) -> None:
    with receiver(dripping(b"HTTP/1.1 200 OK\r\n" + head)) as server:
        answer = quickest_of(lambda: post_to(server, total_s=SHORT_S))

    assert answer == Answer(200, None)


@pytest.mark.parametrize(
    "behave", [hanging, dripping(b"\x16\x03\x03\x40\x00", reads=False)], ids=["hangs", "drips"]
)
def test_tls_handshake_that_does_not_end_costs_no_more_than_the_total(behave: Behaviour) -> None:
    with receiver(behave) as server:
        host = f"localhost:{server.port}"
        one = poster(host, total_s=SHORT_S)
        error = quickest_of(lambda: failure_of(lambda: one.post(f"https://{host}/", {}, b"{}")))

    assert error.message == "The receiver was too slow to take the connection."
    assert error.is_timeout


def test_large_body_may_take_longer_than_the_connection() -> None:
    size_bytes, step_bytes = 24_000_000, 2_000_000

    def slow(connection: socket.socket, server: Receiver) -> None:
        for _ in range(size_bytes // step_bytes):
            time.sleep(0.3)  # The receiver's slowness itself; the test does not synchronise by it.
            connection.recv(step_bytes, socket.MSG_WAITALL)
        connection.sendall(OK)
        server.is_over.wait()

    with receiver(slow) as server:
        host = f"127.0.0.1:{server.port}"
        start = time.monotonic()

        answer = poster(host, total_s=9).post(f"http://{host}/", {}, b"x" * size_bytes)

    assert answer.status == 200
    assert time.monotonic() - start > 3, "the receiver was no slower than a connect may be"


def test_receiver_that_takes_no_body_costs_no_more_than_the_total() -> None:
    with receiver(hanging) as server:
        host = f"127.0.0.1:{server.port}"
        one, body = poster(host, total_s=SHORT_S), b"x" * 50_000_000
        error = quickest_of(lambda: failure_of(lambda: one.post(f"http://{host}/", {}, body)))

    assert error.message == "The receiver was too slow to take the body."
    assert error.is_timeout


def test_look_up_that_hangs_costs_no_more_than_the_total() -> None:
    is_over = threading.Event()

    def slow(host: str, port: int) -> list[str]:
        is_over.wait()
        return ["127.0.0.1"]

    one = poster(resolve=slow, total_s=SHORT_S)
    error = quickest_of(lambda: failure_of(lambda: one.post("https://a.br/", {}, b"{}")))
    is_over.set()

    assert error.message == "The look-up of a.br took too long."
    assert error.is_timeout
    assert not error.is_final


@pytest.mark.parametrize("found", [[], None], ids=["no address", "no such name"])
def test_name_that_does_not_resolve_fails_the_attempt_only(found: list[str] | None) -> None:
    def nothing(host: str, port: int) -> list[str]:
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    error = failure_of(lambda: poster(resolve=nothing).post("https://a.br/?token=1", {}, b"{}"))

    assert error.message == "The name a.br does not resolve."
    assert not error.is_final


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%1"]]
)
def test_name_with_any_address_that_is_not_public_is_refused(found: list[str]) -> None:
    one = poster(resolve=finding(found))

    error = failure_of(lambda: one.post("https://a.br:8443/", {}, b"{}"))

    assert error.message == "a.br resolves to an address that is not public."
    assert error.is_final


def test_url_that_is_no_longer_allowed_is_refused() -> None:
    error = failure_of(lambda: poster().post("http://127.0.0.1:8080/?token=1", {}, b"{}"))

    assert error.message == "127.0.0.1 is not a public address; use a receiver on the internet."
    assert error.is_final


def test_connection_goes_to_the_checked_address_and_the_name_is_looked_up_once() -> None:
    # A rebound name resolves to another address the second time.
    rebinding = finding(["127.0.0.2"], ["10.0.0.1"])
    with (
        receiver(answering(OK), "127.0.0.1") as other,
        # No other socket uses this address, so the port is free there.
        receiver(answering(OK), "127.0.0.2", other.port) as server,
    ):
        host = f"localhost:{server.port}"
        one = poster(host, resolve=rebinding)

        assert one.post(f"http://{host}/", {}, b"{}").status == 200
        assert failure_of(lambda: one.post(f"http://{host}/", {}, b"{}")).is_final

    assert server.connections == 1
    assert f"Host: {host}" in server.requests[0][0]
    assert other.connections == 0


def test_next_address_is_tried_when_one_refuses() -> None:
    with receiver(answering(OK)) as server:
        host = f"localhost:{server.port}"
        one = poster(host, resolve=finding(["127.0.0.9", "127.0.0.8", "127.0.0.1"]))

        assert one.post(f"http://{host}/", {}, b"{}").status == 200


def test_post_is_never_sent_twice() -> None:
    with receiver(lambda connection, server: server.read(connection)) as server:
        host = f"localhost:{server.port}"
        one = poster(host, resolve=finding(["127.0.0.1", "127.0.0.3"]))
        failure_of(lambda: one.post(f"http://{host}/", {}, b"{}"))

    assert server.connections == 1


def test_refused_connection_is_reported_without_the_query() -> None:
    with socket.socket() as deaf:  # The socket has the port and does not listen.
        deaf.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{deaf.getsockname()[1]}"

        error = failure_of(lambda: poster(host).post(f"http://{host}/?token=1", {}, b"{}"))

    assert error.message == "The receiver refused the connection."
    assert not error.is_timeout


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (closing, "The receiver closed the connection before it answered."),
        (answering(b""), "The receiver closed the connection before it answered."),
        (answering(b"220 mail ESMTP\r\n"), "The receiver's answer is not HTTP."),
        (answering(b"HTTP/1.1 abc\r\n\r\n"), "The receiver's answer is not HTTP."),
        (answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000), "The receiver's answer is not HTTP."),  # noqa: E501
    ],
    ids=["closed at once", "closed after the body", "other protocol", "no status", "long header"],
)  # fmt: skip
def test_broken_answer_fails_the_attempt(behave: Behaviour, message: str) -> None:
    with receiver(behave) as server:
        error = failure_of(lambda: post_to(server, "/?token=1"))

    assert error.message == message
    assert not error.is_final


def test_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(answering(b"HTTP/1.1 200 OK\r\nno header\r\nX: y\r\n\r\n")) as server:
        assert post_to(server, "/?token=secret").status == 200

    assert "secret" not in caplog.text


def test_many_threads_share_a_poster() -> None:
    with receiver(answering(OK)) as server, ThreadPoolExecutor(8) as pool:
        host = f"127.0.0.1:{server.port}"
        one = poster(host)
        posts = [pool.submit(one.post, f"http://{host}/{n}", {}, b"%d" % n) for n in range(40)]
        assert all(post.result().status == 200 for post in posts)

    assert {(head.split()[1], body) for head, body in server.requests} == {
        (f"/{n}", b"%d" % n) for n in range(40)
    }


# TLS.


@contextlib.contextmanager
def tls_receiver(folder: Path, name: str) -> Iterator[tuple[Receiver, str, list[str | None]]]:
    """Run a receiver with a certificate for `name`; yield it, the file, and the requested names."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=receiver", "-addext", f"subjectAltName={name}",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    requested_names: list[str | None] = []
    context.sni_callback = lambda _socket, server_name, _context: requested_names.append(
        server_name
    )

    def behave(connection: socket.socket, server: Receiver) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            answering(OK)(wrapped, server)

    with receiver(behave) as server:
        yield server, str(certificate), requested_names


def test_certificate_and_sni_go_by_the_name(tmp_path: Path) -> None:
    with tls_receiver(tmp_path, "DNS:localhost") as (server, certificate, requested_names):
        host = f"localhost:{server.port}"
        one = poster(host, ca_bundle=certificate)

        assert one.post(f"https://{host}/", {}, b"{}").status == 200

    assert requested_names == ["localhost"]
    assert f"Host: {host}" in server.requests[0][0]


def test_certificate_of_an_address_is_good_for_the_address(tmp_path: Path) -> None:
    with tls_receiver(tmp_path, "IP:127.0.0.1") as (server, certificate, _):
        host = f"127.0.0.1:{server.port}"
        one = poster(host, ca_bundle=certificate)

        assert one.post(f"https://{host}/", {}, b"{}").status == 200


@pytest.mark.parametrize(
    ("name", "is_trusted"),
    [("DNS:hooks.tribunal.jus.br", True), ("IP:127.0.0.1", True), ("DNS:localhost", False)],
    ids=["of another name", "of the address", "of an unknown issuer"],
)
def test_wrong_certificate_gets_no_request(tmp_path: Path, name: str, is_trusted: bool) -> None:
    with tls_receiver(tmp_path, name) as (server, certificate, _):
        host = f"localhost:{server.port}"
        one = poster(host, ca_bundle=certificate if is_trusted else None)
        error = failure_of(lambda: one.post(f"https://{host}/", {}, b"{}"))

    assert error.message == "The receiver's TLS certificate could not be verified."
    assert not error.is_final
    assert server.requests == []


def test_receiver_without_tls_is_reported() -> None:
    with receiver(speaking_first) as server:
        host = f"localhost:{server.port}"
        error = failure_of(lambda: poster(host).post(f"https://{host}/", {}, b"{}"))

    assert error.message == "The TLS connection to the receiver failed."


# Retry-After.

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("604800", 604_800.0),
        ("604801", None),
        ("9" * 400, None),
        ("-1", None),
        ("1.5", None),
        ("١٢", None),
        ("soon", None),
        ("1, 2", None),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0),
        ("Sun, 01 Mar 2026 12:01:00 -0000", 60.0),
        ("Sun, 01 Mar 2026 09:01:00 -0300", 60.0),
        ("Sunday, 01-Mar-26 12:01:00 GMT", 60.0),
        ("Sun Mar  1 12:01:00 2026", 60.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", None),
        ("Sun, 01 Mar 2099 12:00:00 GMT", None),
        ("Sun, 32 Mar 2026 12:00:00 GMT", None),
        ("Sun, 01 Mar 99999999999999999999 12:00:00 GMT", None),
        ("Sun, 01 Mar 0001 00:00:00 +2359", None),
    ],
)
def test_retry_after_is_read_or_ignored(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(text=st.text() | st.text(alphabet="SunMar GMT,:-+0123456789", max_size=40))
def test_no_retry_after_raises(text: str) -> None:
    seconds = parse_retry_after(text, NOW)

    assert seconds is None or 0 <= seconds <= 604_800
