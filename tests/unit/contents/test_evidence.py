"""Test that a proof outweighs a guess; without proof, content of a wrong kind is rejected."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import Any
from uuid import UUID

import pytest

from actors.contents.content_checks import ContentCheck
from storage.errors import TransientError
from storage.portal.document_claims import CheckedContent
from tests.sandbox import replies
from tests.sandbox.court_cases import document_bytes as sandbox

PDF = sandbox.content("pdf", UUID(int=7), 20_000)
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
PAGE = "<html><head><title>Portal de Serviços</title></head><body>x</body></html>".encode()


def _check(body: bytes, **facts: Any) -> CheckedContent:
    defaults = {
        "listed_size_bytes": None,
        "listed_content_type": None,
        "declared_length": len(body),
        "header_content_type": None,
        "name": "",
        "max_bytes": 1 << 30,
    }
    check = ContentCheck(**(defaults | facts))
    check.feed(body)
    return check.finish(is_framed=True)


def _proven(body: bytes, **facts: Any) -> CheckedContent:
    return _check(body, listed_size_bytes=len(body), **facts)


def _refused(body: bytes, **facts: Any) -> str:
    with pytest.raises(TransientError) as caught:
        _check(body, **facts)
    return caught.value.reason


@pytest.mark.parametrize(
    "body",
    [
        *(PDF + b"\n" + b"s" * more for more in (1_037, 2_401, 5_592, 70_000)),
        PDF.replace(b"%%EOF", b"     "),
        PDF[:15_000],
        PAGE,
        b"<html><form><input type='password'></form></html>",
        b"<html><body><app-root></app-root>" + b"x" * 5_000 + b"</body></html>",
        b"<html><body><app-root></app-root></body></html>",
        b'{"provas": [{"mensagem": "x"}]}',
        b'{"cod',
        b"Request blocked.",
        b"\0\1\2",
    ],
)
@pytest.mark.parametrize("listed", [None, "application/pdf", "text/html", "image/png"])
@pytest.mark.parametrize("header", [None, "application/json", "application/pdf", "text/html"])
def test_what_has_the_listed_size_to_the_byte_is_the_document(
    body: bytes, listed: str | None, header: str | None
) -> None:
    content = _proven(body, listed_content_type=listed, header_content_type=header)
    assert content.size_bytes == len(body)


def test_the_page_shell_is_none_even_where_its_own_size_is_listed() -> None:
    (shell,) = replies.PAGE_SHELL.body
    with pytest.raises(TransientError, match="own web page"):
        _proven(shell, listed_content_type="text/html", header_content_type="text/html")


def test_another_size_than_announced_is_corrupt_whatever_is_listed() -> None:
    assert _refused(PDF, listed_size_bytes=len(PDF), declared_length=len(PDF) + 1) == "CORRUPT"
    assert _refused(PDF, listed_size_bytes=len(PDF) + 1) == "CORRUPT"


def _tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(entry := tarfile.TarInfo("a.pdf"), io.BytesIO(b""))
        entry.size = len(PDF)
        archive.addfile(entry, io.BytesIO(PDF))
    return target.getvalue()


def _zip(*, first: str = "a.pdf", body: bytes = PDF) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo(first), body)
    return target.getvalue()


@pytest.mark.parametrize(
    ("body", "mime", "extension"),
    [
        (
            b"\x30\x82\x4e\x20" + SIGNED_DATA + b"\xa0\x82" + PDF,
            "application/pkcs7-signature",
            "p7s",
        ),
        (b"\x30\x80" + SIGNED_DATA + b"\xa0\x80" + PDF, "application/pkcs7-signature", "p7s"),
        (b"\x30\x82\x4e\x20" + SIGNED_DATA + PAGE, "application/pkcs7-signature", "p7s"),
        (b"-----BEGIN PKCS7-----\nMII=\n", "application/pkcs7-signature", "p7s"),
        (_zip(), "application/zip", "zip"),
        (_zip(body=PAGE), "application/zip", "zip"),
        (_tar(), "application/x-tar", "tar"),
        (gzip.compress(PDF, mtime=0), "application/gzip", "gz"),
        (b"Rar!\x1a\x07\x01\0a.pdf" + PDF, "application/vnd.rar", "rar"),
        (b"7z\xbc\xaf\x27\x1c\0\4" + PDF, "application/x-7z-compressed", "7z"),
        (b"MSCF\0\0\0\0" + PDF, "application/vnd.ms-cab-compressed", "cab"),
        (b"\0\0\0\x18ftypM4A " + PDF, "audio/mp4", "m4a"),
        (b"\x01\x02\x03\x04" + PDF, "application/octet-stream", "bin"),
    ],
)
@pytest.mark.parametrize("listed", [None, "application/pdf"])
def test_a_container_is_a_document_of_its_own_type_whatever_lies_in_it(
    body: bytes, mime: str, extension: str, listed: str | None
) -> None:
    for facts in ({}, {"header_content_type": "application/pdf"}, {"name": "x.pdf"}):
        content = _check(body, listed_content_type=listed, **facts)
        assert (content.content_type, content.extension) == (mime, extension)


def test_a_message_with_a_pdf_in_it_is_a_message() -> None:
    body = b"From: a@b.invalid\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf\r\n\r\n" + PDF
    assert _check(body).content_type == "message/rfc822"


def test_the_declared_type_of_a_container_decides_its_kind() -> None:
    body = b"\x30\x82\x4e\x20" + SIGNED_DATA + PDF
    assert _check(body, listed_content_type="application/pkcs7-mime").extension == "p7m"
    assert _check(body, header_content_type="application/x-pkcs7-signature").extension == "p7s"


BLOCK_PAGES = [
    b"<html><body>Request blocked. Support ID: 17</body></html>",
    "<!DOCTYPE html><html><body>Em manutenção</body></html>".encode(),
    "<html><body>Em manutenção</body></html>".encode("utf-16"),
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    b"<div>Acesso negado</div>",
    b"Too many requests, please try again later.",
    "Сервис недоступен".encode(),
    b"upstream connect error\x00",
]


@pytest.mark.parametrize("body", BLOCK_PAGES)
@pytest.mark.parametrize(
    "facts",
    [
        {"listed_content_type": "application/pdf"},
        {"listed_content_type": "image/tiff"},
        {"listed_content_type": "text/richtext"},
        {"listed_content_type": "application/vnd.novo"},
        {"name": "Sentença.pdf"},
        {"name": "audiência.mp4"},
        {"name": "Petição.docx"},
    ],
)
def test_a_text_in_place_of_something_else_is_no_document(
    body: bytes, facts: dict[str, str]
) -> None:
    for header in (None, "text/html", "text/plain;charset=utf-8", "application/octet-stream"):
        assert _refused(body, header_content_type=header, **facts) == "NOT_A_DOCUMENT"


@pytest.mark.parametrize("listed", ["text/plain", "application/xml", "text/csv", "message/rfc822"])
def test_a_page_in_place_of_another_text_is_no_document(listed: str) -> None:
    for body in BLOCK_PAGES[:3]:
        assert _refused(body, listed_content_type=listed) == "NOT_A_DOCUMENT"


def test_a_text_that_names_a_format_is_a_text() -> None:
    body = b"Erro: %PDF-1.4 esperado"
    assert _check(body, name="x.txt").is_doubtful
    assert _refused(body, name="x.pdf") == "CORRUPT"


@pytest.mark.parametrize("body", [*BLOCK_PAGES, b"<nota/>", b"a;b", b"[Despacho] Vistos."])
def test_a_text_without_a_listed_size_is_doubtful(body: bytes) -> None:
    assert _check(body).is_doubtful
    assert not _proven(body).is_doubtful


@pytest.mark.parametrize("body", [b"\0" * 1_000, bytes(range(256)) * 4, b"\x1b\x07\0\xf8" * 99])
@pytest.mark.parametrize("listed", [None, "application/pdf", "video/mp2t"])
def test_what_begins_like_no_known_format_is_doubtful_without_a_listed_size(
    body: bytes, listed: str | None
) -> None:
    assert _check(body, listed_content_type=listed).is_doubtful
    assert not _proven(body, listed_content_type=listed).is_doubtful


def test_what_is_no_text_is_not_doubtful() -> None:
    for kind in ("pdf", "rtf", "png", "jpeg", "zip"):
        body = sandbox.content(kind, UUID(int=7), 5_000)
        assert not _check(body).is_doubtful
    for blank in (b"\r\n", b"\xef\xbb\xbf"):
        assert not _check(blank + PDF).is_doubtful


@pytest.mark.parametrize(
    "text", [b"Warning: x\n", b"12f\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"--x\r\n"]
)
def test_a_pdf_behind_a_text_that_a_server_added_is_doubtful(text: bytes) -> None:
    assert _check(text + PDF).is_doubtful
    assert not _proven(text + PDF).is_doubtful


def test_what_the_listing_names_counts_more_than_the_name() -> None:
    page = b"<html><body>Vistos.</body></html>"
    content = _check(page, listed_content_type="text/html", name="Sentença.pdf")
    assert content.extension == "html"


@pytest.mark.parametrize(
    ("header", "listed", "expected"),
    [
        ("text/html;charset=windows-1252", None, "text/html;charset=windows-1252"),
        ('text/html; Charset="ISO-8859-1"', None, "text/html;charset=iso-8859-1"),
        ("text/html; a=b; charset=utf-8; c=d", None, "text/html;charset=utf-8"),
        ("text/html", "text/html;charset=windows-1252", "text/html;charset=windows-1252"),
        ("text/html; charset=a\tb\n", None, "text/html"),
        ("text/html; xcharset=utf-8", None, "text/html"),
        ("text/html; charset=" + "x" * 50, None, "text/html"),
    ],
)
def test_a_text_keeps_its_charset(header: str, listed: str | None, expected: str) -> None:
    body = b"<div>Senten\xe7a</div>"
    content = _check(body, header_content_type=header, listed_content_type=listed)
    assert (content.content_type, content.extension) == (expected, "html")


def test_what_is_no_text_has_no_charset() -> None:
    assert _check(PDF, header_content_type="application/pdf;charset=utf-8").content_type == (
        "application/pdf"
    )


@pytest.mark.parametrize(
    "blank",
    [
        *(b" ", b"\r\n\t ", b"\xef\xbb\xbf", b"\xff\xfe \0\n\0", b" " * 99_999),
        # A zip without entries.
        b"PK\5\6" + b"\0" * 18,
    ],
)
def test_a_file_with_nothing_in_it_is_empty_unless_its_size_is_listed(blank: bytes) -> None:
    for listed in (None, "text/html", "text/plain", "application/pdf"):
        assert _refused(blank, listed_content_type=listed) == "CORRUPT"
        assert _proven(blank, listed_content_type=listed).size_bytes == len(blank)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_in_place_of_something_else_is_doubtful(kind: str) -> None:
    image = sandbox.content(kind, UUID(int=7), 5_000)
    for facts in ({"listed_content_type": "application/pdf"}, {"name": "Sentença.html"}):
        assert _check(image, **facts).is_doubtful
        assert not _proven(image, **facts).is_doubtful
    for facts in ({}, {"listed_content_type": "image/tiff"}, {"name": "foto.jpg"}):
        assert not _check(image, **facts).is_doubtful


def test_a_compressed_file_that_is_listed_as_none_is_doubtful() -> None:
    page = gzip.compress(PAGE)
    for facts in ({}, {"listed_content_type": "application/pdf"}, {"name": "Sentença.html"}):
        assert _check(page, **facts).is_doubtful
    assert not _check(page, name="logs.tar.gz").is_doubtful
    assert not _proven(page).is_doubtful
