"""The faults of the sandbox by name, and how often each happens before a good answer."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID

from tests.sandbox import replies
from tests.sandbox.court_cases.case_json import HREF_FAULTS
from tests.sandbox.court_cases.case_model import SandboxCase, SandboxDocument
from tests.sandbox.court_cases.document_bytes import chunks, content
from tests.sandbox.replies import Reply, problem

EARLY_HINTS = (
    b"HTTP/1.1 102 Processing\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </main.css>; rel=preload; as=style\r\n\r\n"
)


@dataclass(frozen=True)
class PortalFault:
    """`answer` gets the document and an origin on another host. `times` None: for ever."""

    answer: Callable[[SandboxDocument, str], Reply]
    times: int | None = None


def good(document: SandboxDocument) -> Reply:
    body = chunks(document.kind, document.uuid, document.size_bytes)
    return Reply(200, body, {"Content-Type": document.media_type}, document.size_bytes)


def _half(document: SandboxDocument) -> tuple[bytes]:
    return (content(document.kind, document.uuid, document.size_bytes)[: document.size_bytes // 2],)


def _cut(document: SandboxDocument, _: str) -> Reply:
    return replace(good(document), body=_half(document), is_cut=True)


def _cut_without_length(document: SandboxDocument, _: str) -> Reply:
    return replace(good(document), body=_half(document), length=None, is_cut=True)


def _cut_chunked(document: SandboxDocument, _: str) -> Reply:
    return replace(_cut_without_length(document, _), is_chunked=True)


def _chunked(document: SandboxDocument, _: str) -> Reply:
    return replace(good(document), length=None, is_chunked=True)


def _early_hints(document: SandboxDocument, _: str) -> Reply:
    """Return an interim answer, which HTTP allows (RFC 9110, 15.2) and some clients mistake."""
    return replace(good(document), interim=EARLY_HINTS)


def _half_in_order(document: SandboxDocument, _: str) -> Reply:
    """Return half of a document in good order, as of a server that lost the rest."""
    return replace(good(document), body=_half(document), length=document.size_bytes // 2)


def _shorter(document: SandboxDocument, _: str) -> Reply:
    """Return a document that is complete except that it is shorter than `tamanho`."""
    return good(replace(document, size_bytes=document.size_bytes - 100))


def _no_eof(document: SandboxDocument, _: str) -> Reply:
    body = content(document.kind, document.uuid, document.size_bytes).replace(b"%%EOF", b"     ")
    return replace(good(document), body=(body,))


def _gzipped(document: SandboxDocument, _: str) -> Reply:
    body = gzip.compress(content(document.kind, document.uuid, document.size_bytes), mtime=0)
    headers = {"Content-Type": document.media_type, "Content-Encoding": "gzip"}
    return Reply(200, (body,), headers, len(body))


def _changing() -> Callable[[SandboxDocument, str], Reply]:
    numbers = itertools.count()
    page = "<html><body>Request {} was rejected.</body></html>"
    return lambda *_: replies.as_html(200, page.format(next(numbers)))


def _drip(document: SandboxDocument, _: str) -> Reply:
    body = content(document.kind, document.uuid, document.size_bytes)
    return replace(good(document), body=(body[i : i + 1] for i in range(len(body))), pause_s=0.5)


def _redirect(document: SandboxDocument, foreign_origin: str) -> Reply:
    return Reply(302, (), {"Location": f"{foreign_origin}/outro/{document.uuid}"}, 0)


def _empty(document: SandboxDocument, _: str) -> Reply:
    return Reply(200, (), {"Content-Type": document.media_type}, 0)


def _too_fast(retry_after: Callable[[], str] | None) -> Callable[[SandboxDocument, str], Reply]:
    def answer(document: SandboxDocument, foreign_origin: str) -> Reply:
        headers = {"Retry-After": retry_after()} if retry_after else {}
        return problem(429, "Muitas requisições.", headers)

    return answer


def _soon() -> str:
    """Return an HTTP date two seconds ahead: without fractions, at least one second is left."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)


def _always(reply: Reply, times: int | None = None) -> PortalFault:
    return PortalFault(lambda *_: reply, times)


_UNAVAILABLE = {
    status: replies.as_html(status, f"<html><body><h1>{status}</h1></body></html>")
    for status in (502, 503, 504)
}

_SAME_PDF = replies.whole(200, content("pdf", UUID(int=7), 3_000), "application/pdf")

LIST_FAULTS: dict[str, PortalFault] = {
    "no-access": _always(replies.NO_ACCESS),
    "expired-token": _always(replies.EXPIRED),
    "forbidden": _always(replies.FORBIDDEN),
    "wrong-route": _always(replies.WRONG_ROUTE),
    "firewall": _always(replies.FIREWALL, 1),
    "too-fast": PortalFault(_too_fast(lambda: "1"), 1),
    "list-503-then-good": _always(_UNAVAILABLE[503], 2),
    "list-500": _always(replies.CODEX_ERROR),
    "list-garbage": _always(replies.MAINTENANCE),
}

FILE_FAULTS: dict[str, PortalFault] = {
    "no-access-file": _always(replies.NO_ACCESS),
    "expired-token": _always(replies.EXPIRED),
    "firewall": _always(replies.FIREWALL, 1),
    "forbidden": _always(replies.FORBIDDEN),
    "file-404": _always(replies.NOT_FOUND),
    "wrong-route": _always(replies.WRONG_ROUTE),
    "too-fast": PortalFault(_too_fast(lambda: "1"), 1),
    "too-fast-date": PortalFault(_too_fast(_soon), 1),
    "too-fast-bare": PortalFault(_too_fast(None), 1),
    "codex-500": _always(replies.CODEX_ERROR),
    "codex-500-then-good": _always(replies.CODEX_ERROR, 2),
    "bad-gateway": _always(_UNAVAILABLE[503]),
    "502-once": _always(_UNAVAILABLE[502], 1),
    "503-once": _always(_UNAVAILABLE[503], 1),
    "504-once": _always(_UNAVAILABLE[504], 1),
    "not-ready": _always(replies.NOT_READY, 1),
    "always-json": _always(replies.NOT_READY),
    "page-shell": _always(replies.PAGE_SHELL),
    "login-page": _always(replies.LOGIN_PAGE),
    "block-page": _always(replies.BLOCK_PAGE),
    "block-page-once": _always(replies.BLOCK_PAGE, 1),
    "block-page-twice": _always(replies.BLOCK_PAGE, 2),
    "block-text": _always(replies.BLOCK_TEXT),
    "changing-page": PortalFault(_changing()),
    "same-fragment": _always(replies.FRAGMENT),
    "same-pdf": _always(_SAME_PDF),
    "same-pdf-once": _always(_SAME_PDF, 1),
    "half-in-order": PortalFault(_half_in_order),
    "windows-1252": _always(
        replies.whole(200, "<div>Petição</div>".encode("cp1252"), "text/html;charset=windows-1252")
    ),
    "empty-file": PortalFault(_empty),
    "cut": PortalFault(_cut, 2),
    "cut-for-good": PortalFault(_cut),
    "short-of-tamanho": PortalFault(_shorter),
    "no-eof": PortalFault(_no_eof),
    "no-length-cut": PortalFault(_cut_without_length),
    "gzip": PortalFault(_gzipped),
    "chunked": PortalFault(_chunked),
    "early-hints": PortalFault(_early_hints),
    "chunked-cut": PortalFault(_cut_chunked),
    "redirect": PortalFault(_redirect),
    "drip": PortalFault(_drip),
}


def is_good_in_the_end(document: SandboxDocument) -> bool:
    """Return whether a client that follows docs/reference/portal.md gets the document at last."""
    if document.fault in (None, "chunked", "early-hints", "gzip"):
        return True
    return document.fault not in HREF_FAULTS and FILE_FAULTS[document.fault].times is not None


def good_count(case: SandboxCase) -> int:
    """Return how many distinct documents such a client gets at last."""
    if case.list_fault and LIST_FAULTS[case.list_fault].times is None:
        return 0
    return sum(any(map(is_good_in_the_end, twins)) for twins in case.distinct.values())
