"""Test the check of a file while it streams: only proven content passes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import time
import zipfile
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contents.content_checks import ContentCheck
from storage.errors import AttemptError, PermanentError, TransientError
from storage.portal.document_claims import CheckedContent
from tests.sandbox import replies
from tests.sandbox.court_cases import document_bytes as sandbox

SEED = UUID(int=7)
PDF = sandbox.content("pdf", SEED, 20_000)
PAGE = b"<!DOCTYPE html>\n<html><head><title>Decis\xc3\xa3o</title></head><body>x</body></html>"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)


def _check(
    body: bytes,
    *,
    listed: int | None = None,
    tipo: str | None = None,
    declared: int | None = None,
    header: str | None = None,
    name: str = "",
    is_framed: bool = True,
    chunk_bytes: int = 1 << 20,
    max_bytes: int = 1 << 30,
) -> CheckedContent:
    check = ContentCheck(
        listed_size_bytes=listed,
        listed_content_type=tipo,
        declared_length=declared,
        header_content_type=header,
        name=name,
        max_bytes=max_bytes,
    )
    for start in range(0, len(body), chunk_bytes):
        check.feed(body[start : start + chunk_bytes])
    return check.finish(is_framed=is_framed)


def _error(body: bytes, **facts: object) -> AttemptError:
    with pytest.raises(AttemptError) as caught:
        _check(body, **facts)  # type: ignore[arg-type]
    return caught.value


def _is_transient(error: AttemptError, reason: str, *, is_few: bool = False) -> bool:
    return isinstance(error, TransientError) and (error.reason, error.is_few) == (reason, is_few)


def _archive(name: str = "word/document.xml", comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr(zipfile.ZipInfo(name), "x" * 3_000)
        file.comment = comment
    return target.getvalue()


def _odt() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr(zipfile.ZipInfo("mimetype"), "application/vnd.oasis.opendocument.text")
        file.writestr(zipfile.ZipInfo("content.xml"), "<x/>")
    return target.getvalue()


def test_a_complete_file_has_size_hash_and_type() -> None:
    content = _check(PDF, listed=len(PDF), declared=len(PDF), header="application/pdf")
    digest = hashlib.sha256(PDF).hexdigest()
    assert content == CheckedContent(len(PDF), digest, "application/pdf", "pdf")


@pytest.mark.parametrize(
    ("kind", "mime", "extension"),
    [
        ("pdf", "application/pdf", "pdf"),
        ("rtf", "application/rtf", "rtf"),
        ("png", "image/png", "png"),
        ("jpeg", "image/jpeg", "jpg"),
        ("zip", "application/zip", "zip"),
    ],
)
def test_magic_bytes_count_more_than_any_declared_type(
    kind: str, mime: str, extension: str
) -> None:
    body = sandbox.content(kind, SEED, 5_000)
    content = _check(body, header="text/plain", tipo="image/gif", name="x.tiff")
    assert (content.content_type, content.extension) == (mime, extension)


@pytest.mark.parametrize(
    ("begin", "mime"),
    [
        (b"GIF89a", "image/gif"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"RIFF\1\2\3\4WAVE", "audio/wav"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"OggS\0", "audio/ogg"),
        (b"ID3\x03\0", "audio/mpeg"),
        (b'<?xml version="1.0"?><nota/>', "application/xml"),
        (b'\xef\xbb\xbf <!-- x --> <DIV class="x">', "text/html"),
        (b"  {\\rtf1 no, not at its beginning", "text/plain"),
        (b"Vistos. Intimem-se.", "text/plain"),
        (b"[Despacho] Vistos.", "text/plain"),
        (b"{cabecalho} Vistos.", "text/plain"),
        (b'["A vida" \xc3\xa9 bela.', "text/plain"),
        (b"ID3 e outros pontos", "text/plain"),
        (b"\x01\x02\x03", "application/octet-stream"),
    ],
)
def test_other_beginnings_are_known(begin: bytes, mime: str) -> None:
    assert _check(begin + b" ").content_type == mime


@pytest.mark.parametrize(
    ("facts", "mime", "extension"),
    [
        ({"header": "text/html", "tipo": "text/plain"}, "text/html", "html"),
        ({"header": "application/octet-stream", "tipo": "text/html"}, "text/html", "html"),
        ({"header": "nonsense", "name": "Sentença.HTML"}, "text/html", "html"),
        ({"header": "application/pkcs7-signature"}, "application/pkcs7-signature", "p7s"),
        ({"header": "application/x-novo"}, "application/x-novo", "bin"),
        ({"name": "a/../x.exe"}, "text/plain", "txt"),
    ],
)
def test_without_magic_the_header_then_the_listing_then_the_name_decide(
    facts: dict[str, str], mime: str, extension: str
) -> None:
    content = _check(b"Vistos.", **facts)  # type: ignore[arg-type]
    assert (content.content_type, content.extension) == (mime, extension)


@pytest.mark.parametrize(
    ("body", "facts", "extension"),
    [
        (_archive(), {}, "zip"),
        (_archive(), {"tipo": DOCX}, "docx"),
        (_archive(), {"header": "application/octet-stream", "name": "x.docx"}, "docx"),
        (_archive(), {"header": "application/pdf", "tipo": "text/html"}, "zip"),
        (_odt(), {"tipo": DOCX}, "odt"),
        (OLE, {}, "doc"),
        (OLE, {"tipo": "application/vnd.ms-excel"}, "xls"),
    ],
)
def test_containers_are_distinguished_by_the_declared_type(
    body: bytes, facts: dict[str, str], extension: str
) -> None:
    assert _check(body, **facts).extension == extension  # type: ignore[arg-type]


def test_a_pdf_may_begin_late_but_not_after_1024_bytes() -> None:
    assert _check(b"junk\n" + PDF).content_type == "application/pdf"
    assert _check(b"j" * 1_024 + PDF).content_type == "text/plain"


def test_an_empty_file_is_corrupt() -> None:
    assert _is_transient(_error(b"", declared=0), "CORRUPT")
    assert _is_transient(_error(b"", declared=0, header="application/json"), "CORRUPT")


@pytest.mark.parametrize("size", [len(PDF) - 1, len(PDF) + 1])
def test_another_size_than_listed_or_announced_is_corrupt(size: int) -> None:
    assert _is_transient(_error(PDF, listed=size), "CORRUPT")
    assert _is_transient(_error(PDF, declared=size), "CORRUPT")
    assert str(size) in str(_error(PDF, listed=size))


@pytest.mark.parametrize("padding", [b"", b"\n", b"\0" * 10_000, b" \r\n\0" * 3_000])
def test_a_pdf_ends_with_its_trailer_before_any_padding(padding: bytes) -> None:
    assert _check(PDF + padding).size_bytes == len(PDF) + len(padding)
    cut = PDF[: len(PDF) // 2]
    assert _is_transient(_error(cut + padding, declared=len(cut + padding)), "CORRUPT")


def test_where_a_pdf_of_unknown_length_stops_its_trailer_stands_in_the_last_1024_bytes() -> None:
    stops = {"is_framed": False}
    assert _check(PDF.rstrip() + b"x" * 1_019, is_framed=False).extension == "pdf"
    assert _is_transient(_error(PDF.rstrip() + b"x" * 1_020, **stops), "CORRUPT")
    # Padding counts once other bytes follow it, however the stream is divided.
    late = PDF.rstrip() + b"\n" * 1_200 + b"x"
    assert _is_transient(_error(late, chunk_bytes=7, **stops), "CORRUPT")


def test_kilobytes_may_follow_the_end_of_a_pdf_whose_length_is_announced() -> None:
    for more in (1_037, 2_401, 5_592):
        body = PDF + bytes([0x80 + more % 64]) * more
        assert _check(body, declared=len(body)).extension == "pdf"


def test_a_pdf_that_is_cut_in_its_second_edition_is_corrupt() -> None:
    body = PDF + b"7 0 obj\n<< /Length 5000 >>\nstream\n" + b"x" * 1_500
    assert _is_transient(_error(body, declared=len(body)), "CORRUPT")


def test_a_text_that_is_only_declared_as_a_pdf_is_no_document() -> None:
    for facts in ({"header": "application/pdf"}, {"tipo": "application/pdf"}, {"name": "x.pdf"}):
        assert _is_transient(_error(b"Vistos.", **facts), "NOT_A_DOCUMENT")


@pytest.mark.parametrize("header", ["text/html", None, "application/pdf"])
def test_the_page_shell_is_never_a_document(header: str | None) -> None:
    (shell,) = replies.PAGE_SHELL.body
    facts: dict[str, Any]
    for facts in ({}, {"tipo": "text/html"}, {"tipo": "application/pdf", "listed": 13_257}):
        error = _error(shell, header=header, **facts)
        assert _is_transient(error, "NOT_A_DOCUMENT", is_few=True)


@pytest.mark.parametrize(
    "shell",
    [
        b"<html><head><title>Portal de Servi\xc3\xa7os</title></head></html>" + b" " * 9_000,
        b"<html><body>Portal de Servi\xe7os do Poder Judici\xe1rio</body></html>",
        b"<!doctype html><html><body><app-root></app-root></body></html>",
    ],
)
def test_variants_of_the_shell_are_known(shell: bytes) -> None:
    assert _is_transient(_error(shell, tipo="text/html"), "NOT_A_DOCUMENT", is_few=True)


def test_a_fragment_may_name_the_portal() -> None:
    body = "<div><p>Consulte o Portal de Serviços.</p></div>".encode()
    assert _check(body, tipo="text/html").extension == "html"


def test_a_login_page_is_never_a_document() -> None:
    (login,) = replies.LOGIN_PAGE.body
    assert _is_transient(_error(login, header="text/html", tipo="text/html"), "NOT_A_DOCUMENT")


@pytest.mark.parametrize(
    "facts",
    [
        {"tipo": "application/pdf", "header": "text/html"},
        {"tipo": "text/html", "header": "application/pdf"},
        {"header": "text/html", "name": "Sentença.pdf"},
    ],
)
def test_a_whole_page_in_place_of_something_else_is_no_document(facts: dict[str, str]) -> None:
    assert _is_transient(_error(PAGE, **facts), "NOT_A_DOCUMENT")


@pytest.mark.parametrize("facts", [{"tipo": "text/html"}, {}, {"name": "Sentença.html"}])
def test_a_whole_page_that_was_listed_as_one_is_a_document(facts: dict[str, str]) -> None:
    content = _check(PAGE, header="text/html;charset=utf-8", **facts)  # type: ignore[arg-type]
    assert content.extension == "html"


@pytest.mark.parametrize(
    "body",
    [
        b'{"codigo":"PDPJ-102","mensagem":"Bin\xc3\xa1rio em prepara\xc3\xa7\xc3\xa3o"}',
        b'{"codigo":"PDPJ-102","mens',
        b'{"cod',
        b"{",
        b"{}",
        b"[]",
        b'[{"codigo": 1',
        b'["erro", "tarde',
        b'  \n{\n  "a": [1, 2',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "' + b"x" * 100_000,
        b"[" * 50_000,
    ],
)
def test_a_json_message_is_no_document(body: bytes) -> None:
    facts: dict[str, Any]
    for facts in ({}, {"header": "application/pdf", "listed": 13_257}, {"name": "x.pdf"}):
        assert _is_transient(_error(body, **facts), "NOT_A_DOCUMENT")


def test_what_is_sent_as_json_is_no_document() -> None:
    for header in ("application/json;charset=UTF-8", "application/problem+json"):
        assert _is_transient(_error(b"Erro interno", header=header), "NOT_A_DOCUMENT")
    assert _check(PDF, header="application/json").extension == "pdf"


@pytest.mark.parametrize("kind", ["pdf", "png", "jpeg", "zip", "rtf"])
def test_a_file_of_unknown_length_is_proven_by_its_own_end(kind: str) -> None:
    body = sandbox.content(kind, SEED, 5_000)
    assert _check(body, is_framed=False).size_bytes == 5_000
    assert _is_transient(_error(body[:-30], is_framed=False), "CORRUPT")


def test_a_file_of_unknown_length_without_an_end_needs_the_listed_size() -> None:
    body = sandbox.content("html", SEED, 5_000)
    assert _is_transient(_error(body, is_framed=False), "CORRUPT")
    assert _check(body, is_framed=False, listed=5_000).size_bytes == 5_000
    assert _check(PAGE, is_framed=False).extension == "html"
    assert _is_transient(_error(PAGE[:-3], is_framed=False), "CORRUPT")


def test_a_zip_ends_with_its_comment() -> None:
    body = _archive(comment=b"c" * 500)
    assert _check(body, is_framed=False, tipo=DOCX).extension == "docx"
    assert _is_transient(_error(body[:-1], is_framed=False), "CORRUPT")


def test_a_file_above_the_limit_is_refused_as_soon_as_that_is_known() -> None:
    for facts in ({"listed": 101}, {"declared": 101}, {}):
        error = _error(b"x" * 101, max_bytes=100, **facts)
        assert isinstance(error, PermanentError)
        assert error.reason == "TOO_LARGE"
    assert _check(b"x" * 100, max_bytes=100).size_bytes == 100


@pytest.mark.parametrize(
    "hostile",
    [
        b"<title" * 10_000,
        b"<html>" + b"<title" * 10_000,
        b"<html>" + b"<input " * 9_000,
        b"<!---->" * 9_000 + b"x",
        b"<!--" * 16_000,
        b" " * 65_000 + b"x",
        b"<html>" + b"portal " * 9_000,
        b'{"' * 30_000,
        b"[ " * 30_000 + b"x",
    ],
)
def test_hostile_beginnings_do_not_take_long(hostile: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(TransientError):
        _check(hostile)
    assert time.process_time() - began < 1


_bodies = st.sampled_from(
    [PDF, PDF + b"\0" * 5_000, _archive(comment=b"\0" * 50), PAGE, OLE, b'{"a', b"x \0 y \n\0"]
) | st.binary(min_size=1, max_size=300)


def _outcome(body: bytes, cuts: list[int]) -> object:
    check = ContentCheck(
        listed_size_bytes=None,
        listed_content_type=None,
        declared_length=None,
        header_content_type=None,
        name="",
        max_bytes=1 << 20,
    )
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        check.feed(body[start:end])
    try:
        return check.finish(is_framed=False)
    except TransientError as error:
        return error.reason, str(error), error.is_few


@given(_bodies, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_the_pieces_it_comes_in_make_no_difference(body: bytes, cuts: list[int]) -> None:
    assert _outcome(body, cuts) == _outcome(body, [])


def test_byte_by_byte_makes_no_difference() -> None:
    assert _outcome(PDF + b"\0" * 5_000, list(range(30_000))) == _outcome(PDF + b"\0" * 5_000, [])
