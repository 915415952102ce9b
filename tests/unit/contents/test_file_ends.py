"""Test that a file which its server cut or padded is not stored as verified."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
from uuid import UUID

import pytest

from actors.contents.content_checks import ContentCheck
from storage.errors import TransientError
from storage.portal.document_claims import CheckedContent
from tests.sandbox.court_cases import document_bytes as sandbox

_DATA = bytes(range(1, 251)) * 8


def _check(body: bytes, *, length: int | None, piece: int = 1 << 20) -> CheckedContent:
    check = ContentCheck(
        listed_size_bytes=None,
        listed_content_type=None,
        declared_length=length,
        header_content_type=None,
        name="",
        max_bytes=1 << 30,
    )
    for begin in range(0, len(body), piece):
        check.feed(body[begin : begin + piece])
    return check.finish(is_framed=True)


def _zip(name: str, comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, _DATA)
        archive.comment = comment
    return target.getvalue()


def _box(kind: bytes, data: bytes, *, is_large: bool = False) -> bytes:
    if is_large:
        return struct.pack(">I", 1) + kind + struct.pack(">Q", 16 + len(data)) + data
    return struct.pack(">I", 8 + len(data)) + kind + data


def _riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(_DATA)) + kind + _DATA


_FTYP = _box(b"ftyp", b"isom\0\0\2\0")
_SIGNED = bytes.fromhex("06092a864886f70d010702")
_WHOLE = {
    "png": sandbox.content("png", UUID(int=7), 5_000),
    "jpeg": sandbox.content("jpeg", UUID(int=7), 5_000),
    "rtf": sandbox.content("rtf", UUID(int=7), 5_000),
    "gif": b"GIF89a" + _DATA + b"\0;",
    "zip": _zip("a.pdf"),
    "docx": _zip("[Content_Types].xml", b"comment"),
    "mp4": _FTYP + _box(b"moov", _DATA) + _box(b"mdat", _DATA, is_large=True),
    "heic": _box(b"ftyp", b"heic\0\0\0\0") + _box(b"mdat", _DATA),
    "p7s": b"\x30\x82" + struct.pack(">H", len(_SIGNED + _DATA)) + _SIGNED + _DATA,
    "p7s in BER": b"\x30\x80" + _SIGNED + _DATA + b"\0\0\0\0",
    "p7s in PEM": b"-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n",
    "7z": b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<IQQI", 0, 900, 1_100, 0) + _DATA,
    "rar": b"Rar!\x1a\x07\x01\0" + _DATA + bytes.fromhex("1d77565103050400"),
    "wav": _riff(b"WAVE"),
    "webp": _riff(b"WEBP"),
    "bmp": b"BM" + struct.pack("<II", 10 + len(_DATA), 0) + _DATA,
    "xz": lzma.compress(_DATA),
    "cab": b"MSCF\0\0\0\0" + struct.pack("<I", 12 + len(_DATA)) + _DATA,
}


@pytest.mark.parametrize("kind", _WHOLE)
@pytest.mark.parametrize("has_length", [True, False])
def test_a_file_that_shows_its_end_is_whole(kind: str, has_length: bool) -> None:
    body = _WHOLE[kind]
    for piece in (1 << 20, 5):
        assert not _check(body, length=len(body) if has_length else None, piece=piece).is_doubtful


@pytest.mark.parametrize("kind", _WHOLE)
@pytest.mark.parametrize("has_length", [True, False])
def test_a_file_without_its_end_is_doubtful_however_it_is_framed(
    kind: str, has_length: bool
) -> None:
    body = _WHOLE[kind]
    for other in (body[:-1], body[: len(body) // 2], body[:-9], body + b"Warning: x"):
        if not other.endswith(b"-----END PKCS7-----"):
            length = len(other) if has_length else None
            assert _check(other, length=length).is_doubtful


@pytest.mark.parametrize(
    "begin",
    [
        b"II*\0",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"ID3\x03",
        b"OggS\0",
        _FTYP + b"\0\0\0\0mdat",
        b"RIFF\xff\xff\xff\xffWAVE",
    ],
)
def test_a_format_without_an_end_of_its_own_needs_a_length(begin: bytes) -> None:
    body = begin + _DATA
    assert _check(body, length=None).is_doubtful
    assert not _check(body, length=len(body)).is_doubtful


def test_a_pdf_without_its_end_is_corrupt() -> None:
    with pytest.raises(TransientError, match="cut off"):
        _check(sandbox.content("pdf", UUID(int=7), 5_000)[:3_000], length=3_000)


@pytest.mark.parametrize("behind", [b"Warning: x", b"<html></html>", b"7 0 o", b"s" * 2_000])
def test_a_pdf_with_other_bytes_behind_its_end_is_doubtful(behind: bytes) -> None:
    body = sandbox.content("pdf", UUID(int=7), 5_000)
    for padding in (b"", b"\r\n", b"\0" * 5_000):
        assert not _check(body + padding, length=len(body + padding)).is_doubtful
        assert _check(body + padding + behind, length=None).is_doubtful


@pytest.mark.parametrize("piece", [1 << 20, 700, 3])
def test_a_pdf_behind_a_part_of_a_pdf_is_doubtful(piece: int) -> None:
    body = sandbox.content("pdf", UUID(int=7), 5_000)
    for spliced in (body[:2_000] + body, body + body):
        assert _check(spliced, length=None, piece=piece).is_doubtful
    for embedded in (b"stream\n", b"stream\r\n"):
        whole = body[:2_000] + embedded + body + b"\nendstream" + body[2_000:]
        assert not _check(whole, length=None, piece=piece).is_doubtful
    late = b"\r\n" * 300 + body
    assert not _check(late, length=None, piece=1 << 20).is_doubtful


@pytest.mark.parametrize(
    "text",
    [
        rb"{\rtf1 {\b x} \{ \\{y} }",
        rb"{\rtf1 {\b x}}" + b"\r\n\0",
        rb"{\rtf1 {\b x}}}",
    ],
)
def test_an_rtf_ends_with_its_first_group_and_not_with_any(text: bytes) -> None:
    for piece in (1 << 20, 3, 1):
        assert not _check(text, length=None, piece=piece).is_doubtful
        for cut in (rb"{\rtf1 {\b x}", rb"{\rtf1 {\b x} \{ \\{y}", rb"{\rtf1 \}"):
            assert _check(cut, length=len(cut), piece=piece).is_doubtful


def test_very_many_boxes_are_not_followed() -> None:
    body = _FTYP + _box(b"free", b"") * 200_000
    assert not _check(body, length=len(body)).is_doubtful
    assert _check(body, length=None).is_doubtful
