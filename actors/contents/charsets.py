"""The text of an answer, in whatever charset it comes. Pure."""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Iterator

from actors.contents.json_fields import charset

# A byte order mark is more reliable than a header.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
# The web's names for windows-1252.
_LATIN = ("iso8859-1", "cp1252")
# The five bytes that windows-1252 leaves undefined, as browsers read them.
_UNDEFINED = {0xDC00 + byte: byte for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}


def text_of(body: bytes, content_type: str) -> str:
    """Decode `body` in the charset of the header, else strict UTF-8, else windows-1252.

    A charset that cannot decode `body` is ignored.
    """
    for name in _candidates(body, content_type):
        with contextlib.suppress(ValueError):
            return body.decode(name)
    return body.decode("cp1252", "surrogateescape").translate(_UNDEFINED)


def _candidates(body: bytes, content_type: str) -> Iterator[str]:
    yield from (name for mark, name in _MARKS if body.startswith(mark))
    # JSON without a mark: the zeros between its first characters show the width and the order.
    found = json.detect_encoding(body)
    if found.startswith(("utf-16", "utf-32")):
        yield found
    declared = codec_of(charset(content_type))
    if declared in _LATIN:
        return
    if declared:
        yield declared
    yield "utf-8"


def codec_of(name: str | None) -> str | None:
    """Return Python's name of a charset, if it is a trusted charset of texts."""
    try:
        known = codecs.lookup(name or "").name
    except LookupError:
        return None
    is_narrow = known == "ascii" or known.startswith(("iso8859-", "cp125"))
    return known if known in _WIDE or is_narrow else None
