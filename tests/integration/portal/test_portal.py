"""Test the portal's client over HTTP: every row of docs/reference/portal.md, and faulty servers."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.case_file.case_limits import MOST_VALUES
from actors.portal.listing_body import LARGE_BYTES
from actors.portal.portal_answers import retry_after_s
from actors.portal.portal_client import Portal
from actors.resilience.exchange_deadline import Deadline, Watchdog
from storage.errors import (
    AttemptError,
    LeaseLost,
    PermanentError,
    TooFast,
    TransientError,
)
from storage.listings.listed_case import CaseListing, ListedDocument
from storage.portal.document_claims import CheckedContent
from tests.sandbox.court_cases.cases import CASES
from tests.sandbox.court_cases.cnj import number_of
from tests.sandbox.court_cases.document_bytes import content
from tests.sandbox.keycloak.static_token import SandboxToken
from tests.sandbox.portal import SandboxPortal
from tests.timing import quickest

TOKEN = "secret-token-of-the-test"
NUMBER = "1011745-77.2025.8.11.0041"
HREF = f"/processos/{NUMBER}/documentos/00000000-0000-4000-8000-000000000001/binario"
WATCHDOG = Watchdog()
# The limit for a transfer that would otherwise last for minutes.
LIMIT_S = 1.0
SLACK_S = 1.0


@dataclass(frozen=True)
class Expected:
    listed_size_bytes: int | None = None
    listed_content_type: str | None = None
    name: str = ""


def _portal(url: str, **options: Any) -> Portal:
    defaults: dict[str, Any] = {
        "tokens": SandboxToken(TOKEN),
        "watchdog": WATCHDOG,
        "document_max_bytes": 400_000_000,
    }
    return Portal(base_url=url, **(defaults | options))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxPortal]:
    with SandboxPortal(token=TOKEN) as portal:
        yield portal


@pytest.fixture
def portal(sandbox: SandboxPortal) -> Iterator[Portal]:
    sandbox.reset()
    client = _portal(sandbox.url)
    yield client
    client.close()


def _list(portal: Portal, number: str) -> CaseListing:
    return portal.list_case(number, 30)


def _fetch(portal: Portal, number: str, listed: ListedDocument) -> CheckedContent:
    sink = io.BytesIO()
    fetched = portal.fetch(number, listed.hrefs[0], sink.write, expected=listed, limit_s=30)
    assert fetched.sha256 == hashlib.sha256(sink.getvalue()).hexdigest()
    return fetched


def _error(work: Callable[[], object]) -> AttemptError:
    """Return the error of `work` after a check that it nowhere shows the token."""
    with pytest.raises(AttemptError) as caught:
        work()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert TOKEN not in shown
    assert "http" not in str(caught.value)
    return caught.value


def _error_in_time(work: Callable[[], object]) -> AttemptError:
    """Return the error of `work` under LIMIT_S, from the first try that is in time.

    A try may meet a stall of the machine; one of several has to be in time.
    """
    errors: list[AttemptError] = []

    def took_s() -> float:
        began = time.monotonic()
        errors.append(_error(work))
        return time.monotonic() - began

    assert quickest(took_s, LIMIT_S + SLACK_S) < LIMIT_S + SLACK_S
    return errors[-1]


def _file_error(portal: Portal, slug: str, index: int = 1) -> AttemptError:
    number = number_of(slug)
    listed = _list(portal, number).documents[index]
    return _error(lambda: _fetch(portal, number, listed))


@pytest.mark.parametrize("slug", ["all-good", "formats", "two-instances", "bare-object"])
def test_every_document_of_a_good_case_is_listed_and_fetched(portal: Portal, slug: str) -> None:
    case = CASES[slug]
    listing = _list(portal, case.number)
    assert len(listing.documents) == len(case.distinct)
    for listed in listing.documents:
        known = case.by_uuid[listed.hrefs[0].split("/")[-2]]
        fetched = _fetch(portal, case.number, listed)
        body = content(known.kind, known.uuid, known.size_bytes)
        assert fetched.sha256 == hashlib.sha256(body).hexdigest()
        assert fetched.size_bytes == known.size_bytes
        expected = {"jpeg": "jpg", "text": "txt"}.get(known.kind, known.kind)
        assert fetched.extension == expected


def test_a_document_without_file_facts_is_fetched(portal: Portal) -> None:
    number = CASES["mostly-500"].number
    listed = _list(portal, number).documents[7]
    assert listed.listed_size_bytes is None
    assert _fetch(portal, number, listed).extension == "pdf"


@pytest.mark.parametrize("slug", ["empty", "null-list", "null-alone"])
def test_a_case_without_documents_is_a_listing(portal: Portal, slug: str) -> None:
    assert _list(portal, number_of(slug)) == CaseListing(0, ())


@pytest.mark.parametrize("slug", ["same-twice", "twins"])
def test_documents_listed_twice_are_one(portal: Portal, slug: str) -> None:
    case = CASES[slug]
    documents = _list(portal, case.number).documents
    assert len(documents) == len(case.distinct)
    assert {len(d.hrefs) for d in documents} == ({2} if slug == "twins" else {1})


@pytest.mark.parametrize("slug", ["unknown", "unknown-content"])
def test_a_case_that_the_portal_lacks_is_not_found(portal: Portal, slug: str) -> None:
    error = _error(lambda: _list(portal, number_of(slug)))
    assert isinstance(error, PermanentError)
    assert error.reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "is_few"),
    [
        ("no-access", PermanentError, "NO_ACCESS", None),
        ("expired-token", PermanentError, "CREDENTIALS_REJECTED", None),
        ("forbidden", PermanentError, "NO_ACCESS", None),
        ("wrong-route", PermanentError, "PORTAL_ERROR", None),
        ("firewall", TooFast, "PORTAL_UNAVAILABLE", False),
        ("too-fast", TooFast, "PORTAL_UNAVAILABLE", False),
        ("list-503-then-good", TransientError, "PORTAL_UNAVAILABLE", False),
        ("list-500", TransientError, "PORTAL_ERROR", True),
        ("list-garbage", TransientError, "PORTAL_ERROR", True),
    ],
)
def test_every_answer_to_a_listing_has_its_meaning(
    sandbox: SandboxPortal,
    portal: Portal,
    fault: str,
    kind: type[AttemptError],
    reason: str,
    is_few: bool | None,
) -> None:
    number = sandbox.add_case(documents=1, list_fault=fault)
    error = _error(lambda: _list(portal, number))
    assert type(error) is kind
    assert (error.reason, getattr(error, "is_few", None)) == (reason, is_few)


@pytest.mark.parametrize(
    ("slug", "kind", "reason", "is_few"),
    [
        ("no-access-file", PermanentError, "NO_ACCESS", None),
        ("expired-token", PermanentError, "CREDENTIALS_REJECTED", None),
        ("firewall", TooFast, "PORTAL_UNAVAILABLE", False),
        ("forbidden", PermanentError, "NO_ACCESS", None),
        ("file-404", PermanentError, "NOT_FOUND", None),
        ("wrong-route", PermanentError, "PORTAL_ERROR", None),
        ("too-fast", TooFast, "PORTAL_UNAVAILABLE", False),
        ("too-fast-date", TooFast, "PORTAL_UNAVAILABLE", False),
        ("too-fast-bare", TooFast, "PORTAL_UNAVAILABLE", False),
        ("codex-500-then-good", TransientError, "PORTAL_ERROR", True),
        ("bad-gateway", TransientError, "PORTAL_UNAVAILABLE", False),
        ("not-ready", TransientError, "NOT_A_DOCUMENT", False),
        ("always-json", TransientError, "NOT_A_DOCUMENT", False),
        ("page-shell", TransientError, "NOT_A_DOCUMENT", True),
        ("login-page", TransientError, "NOT_A_DOCUMENT", False),
        ("empty-file", TransientError, "CORRUPT", False),
        ("cut", TransientError, "CORRUPT", False),
        ("short-of-tamanho", TransientError, "CORRUPT", False),
        ("no-eof", TransientError, "CORRUPT", False),
        ("no-length-cut", TransientError, "CORRUPT", False),
        ("chunked-cut", TransientError, "CORRUPT", False),
        ("redirect", PermanentError, "UNTRUSTED_LINK", None),
    ],
)
def test_every_answer_to_a_file_has_its_meaning(
    portal: Portal, slug: str, kind: type[AttemptError], reason: str, is_few: bool | None
) -> None:
    error = _file_error(portal, slug)
    assert type(error) is kind
    assert (error.reason, getattr(error, "is_few", None)) == (reason, is_few)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_every_gateway_error_is_an_unavailable_portal(portal: Portal, index: int) -> None:
    error = _file_error(portal, "bursts", index)
    assert type(error) is TransientError
    assert error.reason == "PORTAL_UNAVAILABLE"


def test_the_portals_retry_after_sets_the_pause(portal: Portal) -> None:
    pauses = {}
    for slug in ("too-fast", "too-fast-date", "too-fast-bare", "firewall"):
        error = _file_error(portal, slug)
        assert isinstance(error, TooFast)
        pauses[slug] = error.retry_after_s
    assert pauses["too-fast"] == 1
    assert pauses["too-fast-date"] is not None
    assert 0 <= pauses["too-fast-date"] <= 2
    assert pauses["too-fast-bare"] is None
    assert pauses["firewall"] is None


NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", None),
        (" 7 ", 7),
        ("301", 300),
        ("9" * 5_000, 300),
        (format_datetime(NOW + timedelta(seconds=40), usegmt=True), 40),
        (format_datetime(NOW + timedelta(days=4_000), usegmt=True), 300),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), None),
        (format_datetime(NOW, usegmt=True), None),
        ("Mon, 02 Jun 2025 12:00:09 -0000", 9),
        ("Mon, 99 Jun 99999 12:00:09 GMT", None),
    ],
)
def test_retry_after_is_read_and_capped(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize("slug", ["foreign-href", "other-case-href", "query-href"])
def test_a_link_that_is_not_the_cases_own_is_not_requested(
    sandbox: SandboxPortal, portal: Portal, slug: str
) -> None:
    number = number_of(slug)
    listed = _list(portal, number).documents[1]
    assert (listed.hrefs, listed.refused_reason) == ((), "UNTRUSTED_LINK")
    asked = len(sandbox.requests)
    hostile = "https://example.org/x" if slug == "foreign-href" else HREF + "?x"
    error = _error(
        lambda: portal.fetch(number, hostile, io.BytesIO().write, expected=listed, limit_s=5)
    )
    assert (type(error), error.reason) == (PermanentError, "UNTRUSTED_LINK")
    assert len(sandbox.requests) == asked


def test_a_redirect_is_not_followed(sandbox: SandboxPortal, portal: Portal) -> None:
    _file_error(portal, "redirect")
    assert not [request for request in sandbox.requests if "/outro/" in request.path]


def test_a_chunked_file_is_complete(portal: Portal) -> None:
    number = number_of("chunked")
    assert _fetch(portal, number, _list(portal, number).documents[1]).size_bytes == 20_000


def test_a_large_file_passes_in_small_pieces(sandbox: SandboxPortal, portal: Portal) -> None:
    number = sandbox.add_case(documents=1, size=30_000_000)
    (listed,) = _list(portal, number).documents
    sizes: list[int] = []
    portal.fetch(
        number, listed.hrefs[0], lambda c: sizes.append(len(c)), expected=listed, limit_s=60
    )
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 256 * 1024


def test_a_file_listed_above_the_limit_is_not_requested(sandbox: SandboxPortal) -> None:
    client = _portal(sandbox.url, document_max_bytes=19_999)
    number = number_of("one-pdf")
    (listed,) = _list(client, number).documents
    asked = len(sandbox.requests)
    error = _error(lambda: _fetch(client, number, listed))
    assert (type(error), error.reason) == (PermanentError, "TOO_LARGE")
    assert isinstance(error, PermanentError)
    assert not error.is_requested
    assert len(sandbox.requests) == asked
    # The size is announced but not listed: no byte of the file is read.
    pieces: list[bytes] = []
    error = _error(
        lambda: client.fetch(
            number, listed.hrefs[0], pieces.append, expected=Expected(), limit_s=30
        )
    )
    assert (error.reason, pieces) == ("TOO_LARGE", [])
    assert isinstance(error, PermanentError)
    assert error.is_requested
    client.close()


def test_the_announced_size_is_reported_before_the_first_piece(portal: Portal) -> None:
    calls: list[object] = []
    for slug in ("one-pdf", "chunked"):
        number = number_of(slug)
        listed = _list(portal, number).documents[-1]
        portal.fetch(
            number,
            listed.hrefs[0],
            lambda _: calls.append("piece"),
            expected=listed,
            limit_s=30,
            on_start=calls.append,
        )
    assert [one for one in calls if one != "piece"] == [20_000, None]
    assert calls[0] == 20_000


def test_an_error_of_the_sink_is_not_the_portals(portal: Portal) -> None:
    number = number_of("one-pdf")
    (listed,) = _list(portal, number).documents
    full = OSError(28, "No space left on device")

    def sink(chunk: bytes) -> None:
        raise full

    with pytest.raises(OSError, match="No space left") as caught:
        portal.fetch(number, listed.hrefs[0], sink, expected=listed, limit_s=30)
    assert caught.value is full


def test_a_dripping_file_ends_within_the_total_limit(portal: Portal) -> None:
    number = number_of("drip")
    listed = _list(portal, number).documents[1]
    error = _error_in_time(
        lambda: portal.fetch(
            number, listed.hrefs[0], io.BytesIO().write, expected=listed, limit_s=LIMIT_S
        )
    )
    assert (type(error), error.reason) == (TransientError, "PORTAL_UNAVAILABLE")
    assert "longer than is allowed" in str(error)


@pytest.mark.parametrize("after_bytes", [None, 5_000])
def test_cut_from_another_thread_ends_a_fetch_at_once(
    sandbox: SandboxPortal, portal: Portal, after_bytes: int | None
) -> None:
    number = sandbox.add_case(documents=1)
    (listed,) = _list(portal, number).documents
    sandbox.hold(number, after_bytes)
    with WATCHDOG.limit(60) as deadline:

        def cut() -> None:
            sandbox.wait_held(number)
            deadline.cut(LeaseLost("cancelled"))

        cutter = threading.Thread(target=cut)
        cutter.start()
        began = time.monotonic()
        with pytest.raises(LeaseLost, match="cancelled"):
            portal.fetch(
                number,
                listed.hrefs[0],
                io.BytesIO().write,
                expected=listed,
                limit_s=60,
                deadline=deadline,
            )
        assert time.monotonic() - began < 30, "it was not cut; its time was over"
        cutter.join()
    sandbox.release(number)
    # The thread's next exchange is not affected.
    assert _fetch(portal, number, listed).size_bytes == 20_000


def test_a_rejected_token_stays_out_of_every_text(
    sandbox: SandboxPortal, caplog: pytest.LogCaptureFixture
) -> None:
    client = _portal(sandbox.url, tokens=SandboxToken(TOKEN + "-stale"))
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="urllib3"):
        error = _error(lambda: _list(client, NUMBER))
    assert error.reason == "CREDENTIALS_REJECTED"
    assert caplog.records
    assert TOKEN not in caplog.text + repr(client) + repr(vars(error))
    client.close()


# Answers that the sandbox cannot send: raw bytes with pauses.


Script = Callable[[socket.socket], None]


class RawServer:
    """Answers each request on 127.0.0.1 by a script; counts connections, keeps the requests."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._peers: list[socket.socket] = []
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connection_count(self) -> int:
        return len(self._peers)

    def __enter__(self) -> RawServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._peers.append(peer)
                self._start(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while request := self._request(peer):
                self.requests.append(request)
                self._script(peer)

    def _request(self, peer: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = peer.recv(65536)
            if not piece:
                return b""
            request += piece
        return request


def _sends(answer: bytes, *, is_closed: bool = False) -> Script:
    def script(peer: socket.socket) -> None:
        peer.sendall(answer)
        if is_closed:
            peer.shutdown(socket.SHUT_WR)

    return script


def _answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.contextmanager
def _raw(script: Script, **options: Any) -> Iterator[tuple[RawServer, Portal]]:
    with RawServer(script) as server:
        client = _portal(server.url, **options)
        yield server, client
        client.close()


def _raw_fetch(
    client: Portal, *, limit_s: float = 30, expected: Expected | None = None
) -> CheckedContent:
    return client.fetch(
        NUMBER, HREF, io.BytesIO().write, expected=expected or Expected(), limit_s=limit_s
    )


def _drips(answer: bytes, pause_s: float = 0.05) -> Script:
    def script(peer: socket.socket) -> None:
        for place in range(len(answer)):
            peer.sendall(answer[place : place + 1])
            # The server's own pace; the test does not wait for it.
            time.sleep(pause_s)

    return script


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000,
        _answer("200 OK", b"x" * 10_000),
        _answer("200 OK", b"x" * 10_000).replace(b"Content-Length", b"X-Length"),
        _answer("500 No", b"x" * 10_000),
    ],
    ids=["headers", "body", "body of unknown length", "refusal"],
)
def test_a_server_that_drips_ends_within_the_total_limit(answer: bytes) -> None:
    with _raw(_drips(answer)) as (_, client):
        error = _error_in_time(lambda: _raw_fetch(client, limit_s=LIMIT_S))
        assert (type(error), error.reason) == (TransientError, "PORTAL_UNAVAILABLE")
        error = _error_in_time(lambda: client.list_case(NUMBER, LIMIT_S))
        assert error.reason == "PORTAL_UNAVAILABLE"


def test_a_silent_server_ends_by_the_read_timeout() -> None:
    with _raw(lambda _: None, read_timeout_s=0.3) as (_, client):
        error = _error(lambda: _raw_fetch(client))
        assert (type(error), error.reason) == (TransientError, "PORTAL_UNAVAILABLE")
        assert str(error) == "The portal did not answer in time."


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "is_few"),
    [
        (_answer("501 No"), TransientError, "PORTAL_UNAVAILABLE", False),
        (_answer("599 No"), TransientError, "PORTAL_UNAVAILABLE", False),
        (_answer("400 No"), PermanentError, "PORTAL_ERROR", None),
        (_answer("410 No"), PermanentError, "PORTAL_ERROR", None),
        (_answer("408 Slow"), TransientError, "PORTAL_ERROR", False),
        (_answer("409 Conflict", b"{}"), TransientError, "PORTAL_ERROR", False),
        (_answer("421 Elsewhere"), TransientError, "PORTAL_ERROR", False),
        (_answer("423 Locked"), TransientError, "PORTAL_ERROR", False),
        (_answer("425 Early", b"{}"), TransientError, "PORTAL_ERROR", False),
        (_answer("202 Accepted", b"<p>Aguarde"), TransientError, "PORTAL_ERROR", False),
        (_answer("203 Changed", b"%PDF-"), TransientError, "PORTAL_ERROR", True),
        (_answer("300 Several"), TransientError, "PORTAL_ERROR", True),
        (_answer("304 Same"), TransientError, "PORTAL_ERROR", True),
        (_answer("302 Found", b"", "Location: http://[::"), PermanentError, "UNTRUSTED_LINK", None),
        (_answer("206 Part", b"%PDF-"), TransientError, "PORTAL_ERROR", True),
        (
            _answer("206 Part", b"%PDF-", "Content-Range: bytes 0-4/9"),
            *(TransientError, "PORTAL_ERROR", True),
        ),
        (
            _answer("206 Part", b"%PDF-", "Content-Range: bytes 4-8/9"),
            *(TransientError, "PORTAL_ERROR", True),
        ),
        (_answer("204 None"), TransientError, "PORTAL_ERROR", True),
        (_answer("403 No"), TooFast, "PORTAL_UNAVAILABLE", False),
        (_answer("403 No", b'{"a":1}'), PermanentError, "NO_ACCESS", None),
        (
            _answer("403 No", b"\x1f\x8bxxx", "Content-Encoding: gzip", "Content-Type: text/html"),
            *(TooFast, "PORTAL_UNAVAILABLE", False),
        ),
        (_answer("404 No"), PermanentError, "PORTAL_ERROR", None),
        (
            _answer("404 No", b"<html>", "Content-Type: application/json"),
            *(PermanentError, "PORTAL_ERROR", None),
        ),
        (
            _answer("404 No", b"", "Content-Type: application/json"),
            *(PermanentError, "NOT_FOUND", None),
        ),
        (
            _answer("401 No", rb'{"m":"O usu\u00e1rio n\u00e3o possui acesso ao processo"}'),
            *(PermanentError, "NO_ACCESS", None),
        ),
        (
            _answer("401 No", "não possui acesso ao processo".encode("latin-1")),
            *(PermanentError, "NO_ACCESS", None),
        ),
        (
            _answer("401 No", "não possui acesso ao processo".encode("utf-16")),
            *(PermanentError, "NO_ACCESS", None),
        ),
        (_answer("401 No"), PermanentError, "CREDENTIALS_REJECTED", None),
        (b"HTTP/1.1 404 No\r\nContent-Ty", TransientError, "PORTAL_UNAVAILABLE", False),
        (
            _answer("401 No", b"x").replace(b"gth: 1", b"gth: 9"),
            *(TransientError, "PORTAL_UNAVAILABLE", False),
        ),
    ],
)
def test_answers_at_the_edge_of_the_table(
    answer: bytes, kind: type[AttemptError], reason: str, is_few: bool | None
) -> None:
    works: tuple[Callable[[Portal], object], ...] = (_raw_fetch, lambda c: c.list_case(NUMBER, 30))
    for work in works:
        # Each answer needs a new connection, since these servers close after an answer.
        with _raw(_sends(answer, is_closed=True)) as (_, client):
            error = _error(partial(work, client))
            assert type(error) is kind
            assert (error.reason, getattr(error, "is_few", None)) == (reason, is_few)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_answer("200 OK", b"x" * 9).replace(b"gth: 9", b"gth: 99"), "CORRUPT"),
        (b"HTTP/1.1 200 OK\r\n\r\nVistos.", "CORRUPT"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "CORRUPT"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "CORRUPT"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxxx", "CORRUPT"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nxxxxx", "CORRUPT"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", "UNAVAILABLE"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "UNAVAILABLE"),
        (b"HTTP/1.1 200", "CORRUPT"),
        (b"", "UNAVAILABLE"),
    ],
)
def test_broken_http_is_a_transient_error(answer: bytes, reason: str) -> None:
    with _raw(_sends(answer, is_closed=True)) as (_, client):
        error = _error(lambda: _raw_fetch(client))
        assert type(error) is TransientError
        assert error.reason.endswith(reason)


def _framed(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *headers)).encode() + b"\r\n\r\n" + body


_NINE = b"%PDF-%%EOF"[:9] + b"F"


@pytest.mark.parametrize(
    "answer",
    [
        _framed(_NINE, "Content-Length: 10", "Content-Length: 10"),
        _framed(_NINE, "Content-Length: 10, 10"),
        _framed(_NINE, "Content-Length: 10,10 , 10"),
        _framed(_NINE, "Content-Length: 10", "Transfer-Encoding: identity"),
        _framed(_NINE, "Transfer-Encoding: Identity", "Content-Length: 10, 10"),
        _framed(_NINE, "Content-Length: 10", "Content-Encoding: identity"),
        _framed(
            _NINE, "Content-Length: 10", "Content-Range: bytes 0-9/10", status="206 Partial Content"
        ),
        _framed(
            b"a\r\n" + _NINE + b"\r\n0\r\n\r\n",
            *("Transfer-Encoding: chunked", "Content-Range: bytes 0-9/10"),
            status="206 Partial Content",
        ),
        _framed(b"a\r\n" + _NINE + b"\r\n0\r\n\r\n", "Transfer-Encoding: identity, chunked"),
        _framed(b"a\r\n" + _NINE + b"\r\n0\r\n\r\n", *["Transfer-Encoding: chunked"] * 2),
        _framed(b"a\r\n" + _NINE + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked, Chunked"),
        _framed(_NINE, "Content-Length: 10, 010,"),
        _framed(_NINE, "no field at all", "Content-Length: 10"),
        _framed(_NINE, "Content-Length : 10"),
        _framed(_NINE, "Content-Length: 10", "Content-Encoding: UTF-8"),
        _framed(_NINE, "Content-Length: 10", "Content-Encoding: none"),
        _framed(
            _NINE, "Content-Length: 10", *["Content-Range: bytes 0-9/10"] * 2, status="206 Partial"
        ),
        _framed(_NINE, "Content-Length: 10", "Content-Range: bytes=0-9/10", status="206 Partial"),
        _framed(_NINE, "Content-Length: 10", "Content-Range: 0 - 9 / 10", status="206 Partial"),
        _framed(_NINE, "Content-Length: 10", "Content-Range: bytes 0-9/10"),
        _framed(b"0" * 40 + b"a\r\n" + _NINE + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    ],
)
def test_a_body_that_is_framed_in_an_odd_way_is_read_at_once(answer: bytes) -> None:
    # The server keeps the connection open, so waiting for its end would last until the timeout.
    with _raw(_sends(answer), read_timeout_s=5) as (_, client):
        assert _raw_fetch(client, expected=Expected(10)).size_bytes == 10
        assert _raw_fetch(client).size_bytes == 10


@pytest.mark.parametrize(
    "answer",
    [
        _framed(_NINE, "Content-Length: 10", status="206 Partial Content"),
        _framed(_NINE, "Content-Length: 10", status="203 Non-Authoritative Information"),
        _framed(_NINE, "Content-Length: 10", "Content-Range: bytes 0-9/*", status="206 Partial"),
        _framed(_NINE, "Content-Length: 10", "Content-Encoding: gzip"),
        _framed(_NINE, "Content-Length: 10", "Content-Encoding: br"),
    ],
)
def test_a_file_of_the_listed_length_is_whole_whatever_its_first_bytes(
    answer: bytes,
) -> None:
    with _raw(_sends(answer), read_timeout_s=5) as (_, client):
        assert _raw_fetch(client, expected=Expected(10)).size_bytes == 10
        for expected in (Expected(), Expected(11)):
            error = _error(partial(_raw_fetch, client, expected=expected))
            assert isinstance(error, TransientError)


@pytest.mark.parametrize(
    "answer",
    [
        _framed(_NINE, "Content-Length: 10", "Content-Length: 11"),
        _framed(_NINE, "Content-Length: 10, 9"),
        _framed(_NINE, "Content-Length: 10, x"),
        _framed(
            _NINE, "Content-Length: 10", "Content-Range: bytes 0-8/9", status="206 Partial Content"
        ),
        _framed(b"9\r\n" + _NINE[:9] + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    ],
)
def test_sizes_that_contradict_each_other_or_the_listing_are_errors(answer: bytes) -> None:
    with _raw(_sends(answer, is_closed=True)) as (_, client):
        error = _error(lambda: _raw_fetch(client, expected=Expected(10)))
        assert isinstance(error, TransientError)
        assert error.reason in ("CORRUPT", "PORTAL_UNAVAILABLE")


# The same bytes in every process.
_gzip = partial(gzip.compress, mtime=0)
_CASE = f'[{{"numeroProcesso": "{NUMBER}", "tramitacaoAtual": {{"documentos": []}}}}]'.encode()


@pytest.mark.parametrize(
    ("part", "stated"),
    [
        (_NINE[3:], "bytes 3-9/10"),
        (_NINE[:8], "bytes 0-7/10"),
        (_NINE[:8], "bytes 0-9/10"),
        (_NINE[3:], "bytes 3-9/*"),
    ],
)
def test_a_part_of_a_file_is_not_the_file_although_its_status_is_200(
    part: bytes, stated: str
) -> None:
    for framed in (
        _answer("200 OK", part, f"Content-Range: {stated}"),
        _framed(
            b"%x\r\n" % len(part) + part + b"\r\n0\r\n\r\n",
            *(f"Content-Range: {stated}", "Transfer-Encoding: chunked"),
        ),
    ):
        with _raw(_sends(framed)) as (_, client):
            assert _error(partial(_raw_fetch, client)).reason == "CORRUPT"


_ENDED = b"%PDF-1.7\n" + b"x" * 9_000 + b"\n%%EOF"


@pytest.mark.parametrize("expected", [Expected(), Expected(len(_ENDED))])
@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", _gzip(_ENDED)), ("deflate", zlib.compress(_ENDED))]
)
def test_a_file_that_comes_compressed_is_undone(
    coding: str, body: bytes, expected: Expected
) -> None:
    with _raw(_sends(_answer("200 OK", body, f"Content-Encoding: {coding}"))) as (_, client):
        assert _raw_fetch(client, expected=expected).sha256 == hashlib.sha256(_ENDED).hexdigest()
    chunked = _framed(
        b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
        *(f"Content-Encoding: {coding}", "Transfer-Encoding: chunked"),
    )
    with _raw(_sends(chunked)) as (_, client):
        assert _raw_fetch(client, expected=expected).size_bytes == len(_ENDED)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (_gzip(_ENDED)[:-1], "gzip"),
        (_gzip(_ENDED)[:-8] + b"\0\0\0\0" + _gzip(_ENDED)[-4:], "gzip"),
        (_gzip(_ENDED[:-9]), "gzip"),
        (_ENDED, "gzip"),
        (_ENDED, "br"),
        (_gzip(_gzip(_ENDED)), "gzip, gzip"),
    ],
)
def test_a_compressed_file_that_is_not_whole_is_corrupt(body: bytes, coding: str) -> None:
    with _raw(_sends(_answer("200 OK", body, f"Content-Encoding: {coding}"))) as (_, client):
        assert _error(partial(_raw_fetch, client)).reason == "CORRUPT"
        error = _error(partial(_raw_fetch, client, expected=Expected(len(_ENDED) + 1)))
        assert error.reason == "CORRUPT"


def test_a_small_gzip_does_not_become_a_file_without_end() -> None:
    answer = _answer("200 OK", _gzip(b" " * 10_000_000) * 20, "Content-Encoding: gzip")
    with _raw(_sends(answer), document_max_bytes=1_000_000) as (_, client):
        assert _error(partial(_raw_fetch, client)).reason == "TOO_LARGE"


def test_an_answer_with_another_digest_than_it_states_is_not_whole() -> None:
    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    field = f"Repr-Digest: sha-256=:{digest}:"
    with _raw(_sends(_answer("200 OK", _ENDED, field))) as (_, client):
        for expected in (Expected(), Expected(len(_ENDED))):
            assert _error(partial(_raw_fetch, client, expected=expected)).reason == "CORRUPT"
    with _raw(_sends(_answer("200 OK", _CASE, field))) as (_, client):
        error = _error(lambda: client.list_case(NUMBER, 30))
        assert error.reason == "PORTAL_UNAVAILABLE"
    # What replaced the file may have kept its digest.
    with _raw(_sends(_answer("403 No", b"{}", field))) as (_, client):
        assert _error(partial(_raw_fetch, client)).reason == "NO_ACCESS"
    with _raw(_sends(_answer("401 No", b"n\xe3o possui acesso ao processo", field))) as (_, client):
        assert _error(partial(_raw_fetch, client)).reason == "NO_ACCESS"


@pytest.mark.parametrize("status", ["202 Accepted", "423 Locked", "500 No", "503 No"])
def test_a_time_that_the_portal_names_with_any_refusal_is_kept(status: str) -> None:
    with _raw(_sends(_answer(status, b"", "Retry-After: 30"))) as (_, client):
        error = _error(partial(_raw_fetch, client))
        assert isinstance(error, TransientError)
        assert error.retry_after_s == 30


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZip, identity"])
@pytest.mark.parametrize("members", [1, 3])
def test_a_listing_that_comes_gzipped_is_undone(coding: str, members: int) -> None:
    size = -(-len(_CASE) // members)
    parts = [_CASE[place : place + size] for place in range(0, len(_CASE), size)]
    body = b"".join(_gzip(part) + b"\0" * members for part in parts)
    with _raw(_sends(_answer("200 OK", body, f"Content-Encoding: {coding}"))) as (_, client):
        assert client.list_case(NUMBER, 30) == CaseListing(None, ())


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (_gzip(_CASE)[:-1], "gzip"),
        (_gzip(_CASE)[:-8], "gzip"),
        (_gzip(_CASE)[:-8] + b"\0\0\0\0" + _gzip(_CASE)[-4:], "gzip"),
        (_gzip(_CASE) + b"xx", "gzip"),
        (_CASE, "gzip"),
        (b"", "gzip"),
        (_gzip(_gzip(_CASE)), "gzip, gzip"),
        (_CASE, "br"),
    ],
)
def test_a_listing_whose_coding_is_damaged_or_unknown_is_tried_again(
    body: bytes, coding: str
) -> None:
    answer = _answer("200 OK", body, f"Content-Encoding: {coding}")
    with _raw(_sends(answer)) as (_, client):
        error = _error(lambda: client.list_case(NUMBER, 30))
        assert isinstance(error, TransientError)


def test_a_listing_that_comes_deflated_is_undone_if_it_has_a_checksum() -> None:
    for body, is_read in ((zlib.compress(_CASE), True), (zlib.compress(_CASE)[2:-4], False)):
        answer = _answer("200 OK", body, "Content-Encoding: deflate")
        with _raw(_sends(answer)) as (_, client):
            if is_read:
                assert client.list_case(NUMBER, 30) == CaseListing(None, ())
            else:
                assert isinstance(_error(lambda: client.list_case(NUMBER, 30)), TransientError)


def test_a_listing_that_comes_gzipped_without_its_header_is_undone() -> None:
    with _raw(_sends(_answer("200 OK", _gzip(_CASE)))) as (_, client):
        assert client.list_case(NUMBER, 30) == CaseListing(None, ())
    with _raw(_sends(_answer("200 OK", _gzip(_CASE)[:-1]))) as (_, client):
        assert isinstance(_error(lambda: client.list_case(NUMBER, 30)), TransientError)


def test_a_small_gzip_does_not_become_a_listing_without_end() -> None:
    member = _gzip(b" " * 10_000_000)
    answer = _answer("200 OK", member * 200, "Content-Encoding: gzip")
    with _raw(_sends(answer)) as (_, client):
        assert _error(lambda: client.list_case(NUMBER, 30)).reason == "PORTAL_ERROR"


def test_a_refusal_that_comes_gzipped_is_read() -> None:
    body = _gzip('{"m":"O usuário não possui acesso ao processo"}'.encode())
    answer = _answer("401 No", body, "Content-Encoding: gzip", "Content-Type: text/plain")
    with _raw(_sends(answer)) as (_, client):
        assert _error(lambda: client.list_case(NUMBER, 30)).reason == "NO_ACCESS"


@pytest.mark.parametrize(
    ("codec", "content_type"),
    [
        ("windows-1252", "application/json;charset=windows-1252"),
        ("windows-1252", "application/json;charset=UTF-8"),
        ("windows-1252", "application/json"),
        ("utf-8", "application/json"),
    ],
)
def test_a_listing_is_read_in_the_charset_that_it_is_written_in(
    codec: str, content_type: str
) -> None:
    documents = [{"nome": "Petição", "idOrigem": f"n{accent}1"} for accent in "ãáà"]
    listing_json = [{"tramitacaoAtual": {"documentos": documents}}]
    body = json.dumps(listing_json, ensure_ascii=False).encode(codec)
    with _raw(_sends(_answer("200 OK", body, f"Content-Type: {content_type}"))) as (_, client):
        listed = client.list_case(NUMBER, 30).documents
    assert [(d.name, d.origin_id) for d in listed] == [
        ("Petição", "nã1"),
        ("Petição", "ná1"),
        ("Petição", "nà1"),
    ]


def test_a_connection_that_breaks_is_an_unavailable_portal() -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(_answer("200 OK", b"x" * 9).replace(b"gth: 9", b"gth: 99"))
        # Closed with a reset in place of an orderly end.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()

    with _raw(script) as (_, client):
        assert _error(lambda: _raw_fetch(client)).reason == "PORTAL_UNAVAILABLE"


def test_a_refused_connection_is_an_unavailable_portal() -> None:
    with socket.socket() as deaf:  # The socket has the port and does not listen.
        deaf.bind(("127.0.0.1", 0))
        client = _portal(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert _error(lambda: _raw_fetch(client)).reason == "PORTAL_UNAVAILABLE"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>x</html>",
        b'[{"numeroProcesso": ',
        b"[" * 100_000,
        b'[{"nivelSigilo": ' + b"9" * 5_000 + b"}]",
        b"null",
        b'{"codigo": "PDPJ-102"}',
    ],
)
def test_a_listing_that_is_no_case_file_is_a_portal_error(body: bytes) -> None:
    with _raw(_sends(_answer("200 OK", body))) as (_, client):
        error = _error(lambda: client.list_case(NUMBER, 30))
        assert isinstance(error, TransientError)
        assert (error.reason, error.is_few) == ("PORTAL_ERROR", True)


def test_a_listing_without_end_is_a_portal_error() -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            peer.sendall(b" " * 1_000_000)

    with _raw(script) as (_, client):
        assert _error(lambda: client.list_case(NUMBER, 30)).reason == "PORTAL_ERROR"


def test_a_listing_of_too_many_values_is_refused_for_good() -> None:
    body = b'[{"tramitacaoAtual":{"documentos":[' + b"[]," * MOST_VALUES + b"[]]}}]"
    with _raw(_sends(_answer("200 OK", body))) as (_, client):
        error = _error(lambda: client.list_case(NUMBER, 60))
        assert isinstance(error, PermanentError)
        assert (error.reason, "values" in str(error)) == ("PORTAL_ERROR", True)


def test_a_large_listing_waits_for_its_turn_and_a_small_one_does_not() -> None:
    order = list[str]()
    large = _answer("200 OK", _CASE + b" " * LARGE_BYTES)

    def list_large() -> None:
        client.list_case(NUMBER, 60)
        order.append("large")

    small = _answer("200 OK", _CASE)
    with _raw(_sends(large)) as (_, client), _raw(_sends(small)) as (_, other_client):
        other_client.listing_turns = client.listing_turns
        with client.listing_turns.turn() as other:
            other.take(Deadline(60))
            thread = threading.Thread(target=list_large)
            thread.start()
            # Its own turn is no obstacle.
            assert client.list_case(NUMBER, 60, turn=other) == CaseListing(None, ())
            assert other_client.list_case(NUMBER, 60) == CaseListing(None, ())
            order.append("small")
        thread.join(60)
    assert order == ["small", "large"]


def test_a_cut_listing_is_an_unavailable_portal() -> None:
    answer = _answer("200 OK", b"[]").replace(b"gth: 2", b"gth: 9")
    with _raw(_sends(answer, is_closed=True)) as (_, client):
        assert _error(lambda: client.list_case(NUMBER, 30)).reason == "PORTAL_UNAVAILABLE"


def test_a_listing_is_read_as_utf_8() -> None:
    body = '\ufeff[{"tramitacaoAtual":{"documentos":[{"nome":"Petição"}]}}]'.encode()
    with _raw(_sends(_answer("200 OK", body))) as (_, client):
        assert client.list_case(NUMBER, 30).documents[0].name == "Petição"


def test_one_connection_serves_a_thread_with_refusals_too() -> None:
    answers = [
        _answer("200 OK", b"Vistos.", "Set-Cookie: a=b"),
        _answer("500 No", b'{"message":"Erro interno na API do Codex."}'),
        _answer("404 No", b"{}"),
        _answer("200 OK", b"{}"),
        _answer("200 OK", b"Vistos."),
    ]
    left = iter(answers)
    with _raw(lambda peer: peer.sendall(next(left))) as (server, client):
        assert _raw_fetch(client, expected=Expected(7)).size_bytes == 7
        for reason in ("PORTAL_ERROR", "NOT_FOUND", "NOT_A_DOCUMENT"):
            assert _error(lambda: _raw_fetch(client, expected=Expected(3))).reason == reason
        assert _raw_fetch(client, expected=Expected(7)).size_bytes == 7
        assert server.connection_count == 1
        for request in server.requests:
            assert b"\r\nCookie:" not in request
            assert b"\r\nUser-Agent: Mozilla/5.0" in request
            assert b"\r\nAccept-Encoding: identity\r\n" in request
            assert f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode() in request
            assert request.startswith(f"GET /api/v2{HREF} HTTP/1.1\r\n".encode())


_FETCH_ALONE = """
import sys
from actors.resilience.exchange_deadline import Deadline, Watchdog
from actors.portal.portal_client import Portal
from tests.sandbox.keycloak.static_token import SandboxToken
tokens = SandboxToken("t")
portal = Portal(base_url=sys.argv[1], tokens=tokens, watchdog=Watchdog(), document_max_bytes=9)
print(portal.list_case("1011745-77.2025.8.11.0041", 30).secrecy_level)
"""


def test_proxies_and_logins_of_the_environment_play_no_part(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    nowhere = "http://127.0.0.1:1"
    env = {"NETRC": str(netrc), "http_proxy": nowhere, "ALL_PROXY": nowhere}
    body = b'[{"nivelSigilo": 0, "tramitacoes": [{"documentos": []}]}]'
    with _raw(_sends(_answer("200 OK", body))) as (server, _):
        ran = subprocess.run(
            [sys.executable, "-c", _FETCH_ALONE, server.url],
            env=env,
            cwd=Path(__file__).parents[3],
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, b"0", b"")
        assert b"\r\nAuthorization: Bearer t\r\n" in server.requests[0]


def test_a_connection_that_the_portal_has_closed_is_opened_again() -> None:
    closed = threading.Event()

    def script(peer: socket.socket) -> None:
        peer.sendall(_answer("200 OK", b"Vistos."))
        peer.shutdown(socket.SHUT_WR)
        closed.set()

    with _raw(script) as (server, client):
        for _ in range(3):
            closed.clear()
            assert _raw_fetch(client, expected=Expected(7)).size_bytes == 7
            assert closed.wait(60)
        assert server.connection_count == 3
