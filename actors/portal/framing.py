"""The end of an answer's body, and its encodings, by its headers. Pure.

An odd form with exactly one meaning is accepted. Contradictory forms are errors.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping

from actors.contents.charsets import codec_of

_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(
    r"(?:bytes\b)?[\s=:]*([0-9]{1,18})\s*-\s*([0-9]{1,18})\s*/\s*([0-9]{1,18}|\*)", re.I
)
# A page of a list may have a unit of its own, such as items.
_PAGE = re.compile(r"\w*[\s=:]*([0-9]{1,18})\s*-\s*([0-9]{1,18})\s*/\s*([0-9]{1,18})")
_NEXT = re.compile(r"<[^>]*>[^,<]*;\s*rel\s*=\s*(?:\"[^\"]*\bnext\b[^\"]*\"|next\b)", re.I)
_PAGE_HEADER = re.compile(r"(?:x-|pagination-|paging-)+(.+)", re.I)
_BOOLEANS = {"true": True, "false": False}
# The values by which servers mean "no encoding".
_NO_CODINGS = ("none", "binary", "8bit", "7bit")
# Codings whose data has a checksum at its end.
CHECKED_CODINGS = ("gzip", "x-gzip", "deflate")
# The containers of gzip and zlib, which have their own checksums; zlib detects which one it is.
_CHECKED_WBITS = 15 + 32
_PIECE_BYTES = 256 * 1024


def announced_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the body's size by Content-Length, None without one.

    The same number may occur several times.
    """
    values = _members(headers.get("Content-Length", ""))
    if not values or not all(map(_LENGTH.fullmatch, values)):
        return None
    numbers = set(map(int, values))
    return numbers.pop() if len(numbers) == 1 else None


def whole_range_bytes(headers: Mapping[str, str], listed_size_bytes: int | None) -> int | None:
    """Return the size of a file if a 206 answer contains it from its first byte to its last.

    Content-Range gives the size. If it is missing or leaves the size open, the listed size applies.
    """
    ranges = _members(headers.get("Content-Range", ""))
    if not ranges:
        return listed_size_bytes if listed_size_bytes == announced_bytes(headers) else None
    found = _RANGE.fullmatch(ranges[0])
    if found is None or len(set(ranges)) > 1 or int(found[1]):
        return None
    size_bytes = int(found[2]) + 1
    total = listed_size_bytes if found[3] == "*" else int(found[3])
    return size_bytes if size_bytes == total else None


def is_part(headers: Mapping[str, str], length: int | None) -> bool:
    """Return whether Content-Range contradicts a body of `length` bytes that is the whole file.

    The status does not matter: a cache may send the part that it has with 200.
    """
    found = map(_RANGE.fullmatch, _members(headers.get("Content-Range", "")))
    sizes = [(int(each[1]), int(each[2]) + 1, each[3]) for each in found if each]
    return any(
        begin or total not in ("*", str(end)) or length not in (None, end)
        for begin, end, total in sizes
    )


def is_page_of_more(headers: Mapping[str, str]) -> bool:
    """Return whether headers state that a list is one page of several: RFC 9110 14.4, RFC 8288."""
    found = map(_PAGE.fullmatch, _members(headers.get("Content-Range", "")))
    is_range = any(int(p[1]) > 0 or int(p[2]) + 1 < int(p[3]) for p in found if p)
    return is_range or _NEXT.search(headers.get("Link", "")) is not None


def stated_pages(headers: Mapping[str, str]) -> dict[str, object]:
    """Return what X- headers state about the pages of a list, such as X-Total-Count.

    The result is an object that `actors.case_file.pages` reads.
    """
    stated: dict[str, object] = {}
    for name, value in headers.items():
        found = _PAGE_HEADER.fullmatch(name)
        if found is None:
            continue
        text = value.strip()
        stated[found[1]] = _BOOLEANS.get(text.lower(), text)
        if text.startswith("{"):
            with contextlib.suppress(ValueError, RecursionError):
                stated[found[1]] = json.loads(text)
    return stated


def transfer_codings(headers: Mapping[str, str]) -> list[str]:
    """Return the codings of Transfer-Encoding in their order, in lower case, without identity.

    A body is chunked only once, so repeated values count once.
    """
    codings = _codings(headers.get("Transfer-Encoding", ""))
    return codings[:1] if set(codings) == {"chunked"} else codings


def content_codings(headers: Mapping[str, str]) -> list[str]:
    """Return the codings of Content-Encoding in their order, in lower case, without identity.

    Some servers put the charset there.
    """
    codings = _codings(headers.get("Content-Encoding", ""))
    return [coding for coding in codings if coding not in _NO_CODINGS and not codec_of(coding)]


def _codings(value: str) -> list[str]:
    return [coding for coding in _members(value.lower()) if coding != "identity"]


def _members(value: str) -> list[str]:
    """Return the members of a list in a header, or in several headers of one name."""
    return [member for text in value.split(",") if (member := text.strip())]


class BadCoding(Exception):
    """The body is not complete, or is neither gzip nor zlib."""


def inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress the gzip or zlib data of `pieces`. Yield small pieces. Raises BadCoding.

    The end is checked: the checksum of each member must be there and match.
    """
    member: zlib._Decompress | None = None
    count = 0
    for piece in pieces:
        # Padding may follow a member, as gzip itself accepts it.
        left = piece.lstrip(b"\0") if count and member is None else piece
        while left:
            if member is None:
                member, count = zlib.decompressobj(_CHECKED_WBITS), count + 1
            yield _piece(member, left)
            left = member.unconsumed_tail
            if member.eof:
                left, member = member.unused_data.lstrip(b"\0"), None
    if member is not None or not count:
        raise BadCoding("The compressed data is incomplete.")


def _piece(member: zlib._Decompress, data: bytes) -> bytes:
    try:
        return member.decompress(data, _PIECE_BYTES)
    except zlib.error as error:
        raise BadCoding("The compressed data is damaged.") from error
