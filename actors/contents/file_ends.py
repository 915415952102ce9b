"""Whether a file ends where its format places its end. Pure.

A server may have cut a file before it framed it, or added bytes to it. Formats with an end of their
own show that. Other formats, such as TIFF or MP3, do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from actors.contents.magic import GIF, JPEG, PKCS7, PNG, RTF, ZIP, by_signature, is_html_page

_PDF_BEGIN = b"%PDF-"
_STREAM_BEGINS = (b"stream\n", b"stream\r\n", b"stream\r")
_CONTEXT = len(b"stream\r\n")
_LATEST_BEGIN = 1_024
_RTF_BEGIN = b"{\\rtf"
_RTF_ESCAPED = re.compile(rb"\\[\\{}]")
_HTML_END = re.compile(rb"</html\s*>\Z", re.I)
_PEM_END = re.compile(rb"-----END (?:PKCS7|CMS)-----\Z")
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
_RAR_ENDS = (b"\xc4\x3d\x7b\x00\x40\x07\x00", b"\x1d\x77\x56\x51\x03\x05\x04\x00")
_BOX, _LARGE_BOX = 8, 16
_FIRST_BOXES = (b"ftyp", b"jP  ")
# A recording in fragments has two boxes for each of them.
_MOST_BOXES = 100_000
# A stream that was recorded live has no size in its head.
_NO_SIZE = (0, 0xFFFFFFFF)


class BoxWalk:
    """Follow the boxes of an ISO media file (MP4, MOV, HEIC, JPEG 2000) while it streams."""

    def __init__(self) -> None:
        self._position = 0
        self._head = b""
        self._count = 0
        # Where the next box begins; None: there are no boxes, or the last one has no size.
        self._next: int | None = 0
        self._is_open = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        begin, self._position = self._position, self._position + len(chunk)
        while self._next is not None and self._next + len(self._head) < self._position:
            place = self._next + len(self._head) - begin
            self._head += chunk[place : place + self._head_bytes() - len(self._head)]
            if len(self._head) == self._head_bytes():
                self._skip()

    def _head_bytes(self) -> int:
        is_large = len(self._head) >= _BOX and self._head[:4] == b"\0\0\0\1"
        return _LARGE_BOX if is_large else _BOX

    def _skip(self) -> None:
        size = int.from_bytes(self._head[:4] if len(self._head) == _BOX else self._head[8:])
        self._count += 1
        self._is_open = size == 0 or self._count == _MOST_BOXES
        is_box = size >= len(self._head) and (self._count > 1 or self._head[4:8] in _FIRST_BOXES)
        is_followed = is_box and not self._is_open and self._next is not None
        self._next = (self._next or 0) + size if is_followed else None
        self._head = b""

    def is_ended(self) -> bool | None:
        """Return whether the last box ends with the file; None: it has no size of its own."""
        return None if self._is_open else self._next == self._position


class PdfWalk:
    """Look for a second beginning of a PDF while it streams.

    A server that sends a file again behind a part of it, or another one, ends it in order. A PDF
    may contain another one in a stream object.
    """

    def __init__(self) -> None:
        self._position = 0
        self._last = b""
        # Where the latest beginning was found.
        self._found = -1
        self.is_spliced = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file. Other formats are not followed."""
        if self._found < 0 and self._position > _LATEST_BEGIN:
            return
        data = self._last + chunk
        begin = self._position - len(self._last)
        place = data.find(_PDF_BEGIN)
        while place >= 0:
            if begin + place > self._found:
                is_embedded = data[max(0, place - _CONTEXT) : place].endswith(_STREAM_BEGINS)
                self.is_spliced |= self._found >= 0 and not is_embedded
                self._found = begin + place
            place = data.find(_PDF_BEGIN, place + 1)
        self._last = data[-2 * _CONTEXT :]
        self._position += len(chunk)


class GroupWalk:
    """Count the open groups of an RTF text while it streams: groups end everywhere in it."""

    def __init__(self) -> None:
        self._open = 0
        self._begin = b""
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file. Other formats are not followed."""
        self._begin += chunk[: len(_RTF_BEGIN) - len(self._begin)]
        if not _RTF_BEGIN.startswith(self._begin):
            return
        text = _RTF_ESCAPED.sub(b"", self._rest + chunk)
        self._rest = b"\\" if text.endswith(b"\\") else b""
        self._open += text.count(b"{") - text.count(b"}")

    def is_ended(self) -> bool:
        """Return whether no group is open."""
        return self._open <= 0


@dataclass(frozen=True, slots=True)
class FileEdges:
    """The edges of a file: its first bytes, and its last ones before and in its padding."""

    head: bytes
    tail: bytes
    padding: bytes
    size_bytes: int
    boxes: BoxWalk
    groups: GroupWalk


def is_ended(file: FileEdges) -> bool | None:
    """Return whether a file that is no PDF ends where its format places its end.

    None: the format does not show its end.
    """
    kind = by_signature(file.head)
    if kind is None:
        is_page = is_html_page(file.head)
        return _HTML_END.search(file.tail) is not None if is_page else None
    if kind.startswith("application/vnd.oasis"):
        kind = ZIP
    return _ENDS[kind](file) if kind in _ENDS else None


def _by_last(*marks: bytes) -> Callable[[FileEdges], bool | None]:
    return lambda file: file.tail.endswith(marks)


def _by_size(begin: int, end: int, *, extra: int = 0) -> Callable[[FileEdges], bool | None]:
    """Compare the file's size with the little-endian number in its head, which lacks `extra`."""

    def compared(file: FileEdges) -> bool | None:
        stated = int.from_bytes(file.head[begin:end], "little")
        # Some programs round the size up to an even one, and some do not count the added byte.
        sizes = (stated + extra, stated + extra + stated % 2)
        return None if stated in _NO_SIZE else file.size_bytes in sizes

    return compared


def _is_zip_ended(file: FileEdges) -> bool:
    """Return whether the last bytes are a zip's end record and the comment that it announces."""
    tail = file.tail + file.padding
    start = tail.rfind(_ZIP_END)
    if start < 0 or start + _ZIP_END_BYTES > len(tail):
        return False
    comment = int.from_bytes(tail[start + 20 : start + 22], "little")
    return start + _ZIP_END_BYTES + comment == len(tail)


def _is_7z_ended(file: FileEdges) -> bool:
    offset, size = (int.from_bytes(file.head[at : at + 8], "little") for at in (12, 20))
    return file.size_bytes == 32 + offset + size


def _is_der_ended(file: FileEdges) -> bool:
    """Return whether a container of signatures in DER, BER or PEM is as long as its head states."""
    if file.head.startswith(b"-"):
        return _PEM_END.search(file.tail) is not None
    length = file.head[1]
    if length == 0x80:
        return (file.tail + file.padding).endswith(b"\0\0\0\0")
    if length < 0x80:
        return file.size_bytes == 2 + length
    digits = length - 0x80
    return file.size_bytes == 2 + digits + int.from_bytes(file.head[2 : 2 + digits])


def _is_rar_ended(file: FileEdges) -> bool:
    return (file.tail + file.padding).endswith(_RAR_ENDS)


def _is_boxed_to_its_end(file: FileEdges) -> bool | None:
    return file.boxes.is_ended()


_RIFF = ("image/webp", "audio/wav", "video/x-msvideo")
_BOXED = (*("audio/mp4", "video/mp4", "video/quicktime", "video/3gpp", "image/heic", "image/jp2"),)
_ENDS: dict[str, Callable[[FileEdges], bool | None]] = {
    PNG: _by_last(b"IEND\xaeB\x60\x82"),
    JPEG: _by_last(b"\xff\xd9"),
    # The last block ends with its size, zero.
    GIF: _by_last(b"\0;"),
    RTF: lambda file: file.tail.endswith(b"}") and file.groups.is_ended(),
    ZIP: _is_zip_ended,
    PKCS7: _is_der_ended,
    "image/bmp": _by_size(2, 6),
    "application/x-xz": _by_last(b"YZ"),
    "application/vnd.rar": _is_rar_ended,
    "application/x-7z-compressed": _is_7z_ended,
    "application/vnd.ms-cab-compressed": _by_size(8, 12),
    **dict.fromkeys(_RIFF, _by_size(4, 8, extra=8)),
    **dict.fromkeys(_BOXED, _is_boxed_to_its_end),
}
