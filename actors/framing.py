"""Where the body of an answer ends, and in which encodings it comes, by its headers. Pure.

Each odd form here says one thing only, so it is read; forms that contradict themselves are errors.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping

_LENGTH = re.compile(r"[0-9]{1,18}")
_WHOLE_RANGE = re.compile(r"bytes\s+0-([0-9]{1,18})/([0-9]{1,18})", re.I)
# The containers of gzip and zlib, which have checksums of their own; zlib tells them apart.
_CHECKED_WBITS = 15 + 32
_PIECE_BYTES = 256 * 1024


def announced_bytes(headers: Mapping[str, str]) -> int | None:
    """The size of the body that Content-Length gives; None: it gives none.

    The same number may be given several times.
    """
    values = {value.strip() for value in headers.get("Content-Length", "").split(",")}
    if len(values) != 1:
        return None
    value = values.pop()
    return int(value) if _LENGTH.fullmatch(value) else None


def whole_range_bytes(headers: Mapping[str, str]) -> int | None:
    """The size of a file that Content-Range says is sent from its first byte to its last."""
    found = _WHOLE_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None or int(found[1]) + 1 != int(found[2]):
        return None
    return int(found[2])


def transfer_codings(headers: Mapping[str, str]) -> list[str]:
    """The codings of Transfer-Encoding in their order, in lower case, without identity."""
    return _words(headers.get("Transfer-Encoding", ""))


def content_codings(headers: Mapping[str, str]) -> list[str]:
    """The codings of Content-Encoding in their order, in lower case, without identity."""
    return _words(headers.get("Content-Encoding", ""))


def _words(value: str) -> list[str]:
    words = (word.strip().lower() for word in value.split(","))
    return [word for word in words if word not in ("", "identity")]


class BadCoding(Exception):
    """What came is not whole, or neither gzip nor zlib."""


def inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What gzip or zlib made `pieces` of, in small pieces itself. Raises BadCoding.

    The end is checked: the checksum of each member must be there and agree.
    """
    member: zlib._Decompress | None = None
    count = 0
    for piece in pieces:
        left = piece
        while left:
            if member is None:
                member, count = zlib.decompressobj(_CHECKED_WBITS), count + 1
            yield _piece(member, left)
            left = member.unconsumed_tail
            if member.eof:
                left, member = member.unused_data, None
    if member is not None or not count:
        raise BadCoding("The compressed data ended before its end.")


def _piece(member: zlib._Decompress, data: bytes) -> bytes:
    try:
        return member.decompress(data, _PIECE_BYTES)
    except zlib.error as error:
        raise BadCoding("The compressed data is damaged.") from error
