"""Fields of JSON from other systems: a wrong type counts as absent."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

NAME_CAP = 1_000

# Cc control, Cf format (bidi, zero width), Cs lone surrogates (no UTF-8), Zl and Zp line breaks.
_STRIPPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_NAME = r"[a-z0-9][a-z0-9._:+-]{0,39}"
_CHARSET = re.compile(rf"(?:^|[;\s])\s*charset\s*=\s*(?:\"({_NAME})\"|'?({_NAME})'?)\s*(?:[;,]|$)")
# Not 1.000, which is a thousand in Brazil.
_DIGITS = re.compile(r"\s*([0-9]{1,18})(?:\.0{1,2})?\s*", re.ASCII)
_TYPE_END = re.compile(r"[;,\s]")
_INT32 = 2**31
_INT64 = 2**63
# Below this, each whole number is a float of its own.
_EXACT = 2**53


def dict_at(value: object, key: str) -> dict[str, Any]:
    """Return the object at `key`, else an empty one."""
    found = _at(value, key)
    return found if isinstance(found, dict) else {}


def text_at(value: object, key: str, *, cap: int = NAME_CAP) -> str:
    """Return the text at `key`, safe for PostgreSQL and for display, `cap` characters at most."""
    found = _at(value, key)
    return clean(found, cap=cap) if isinstance(found, str) else ""


def raw_text_at(value: object, key: str) -> str:
    """Return the text at `key` unchanged; a whole number becomes its digits."""
    found = _at(value, key)
    if isinstance(found, float) and found.is_integer() and abs(found) < _EXACT:
        found = int(found)
    if isinstance(found, int) and not isinstance(found, bool) and -_INT64 <= found < _INT64:
        return str(found)
    return found if isinstance(found, str) else ""


def int_at(value: object, key: str) -> int | None:
    """Return the 32-bit integer at `key`."""
    return _int(_at(value, key), _INT32)


def count_at(value: object, key: str) -> int | None:
    """Return the 32-bit integer at `key`, also from its digits in a text."""
    return _int(_number(_at(value, key)), _INT32)


def size_at(value: object, key: str) -> int | None:
    """Return the size at `key` in bytes. 0 counts as absent: no document is empty."""
    size = _int(_number(_at(value, key)), _INT64)
    return size if size is not None and size > 0 else None


def mime_at(value: object, key: str) -> str | None:
    """Return the MIME type at `key`, in lower case, with its charset and no other parameter."""
    found = _at(value, key)
    mime = mime_type(found) if isinstance(found, str) else None
    return with_charset(mime, charset(found)) if mime and isinstance(found, str) else None


def mime_type(text: str) -> str | None:
    """Return the MIME type in a Content-Type, in lower case, without parameters; None if bad.

    A server may send the header twice, which makes a list of it.
    """
    essence = _TYPE_END.split(text.strip(), maxsplit=1)[0].lower()
    return essence if _MIME.fullmatch(essence) else None


def charset(content_type: str) -> str | None:
    """Return the charset in a Content-Type, in lower case; None without one."""
    parts = _TYPE_END.split(content_type.strip(), maxsplit=1)
    found = _CHARSET.search(parts[-1].lower()) if len(parts) > 1 else None
    return found[1] or found[2] if found else None


def with_charset(mime: str, name: str | None) -> str:
    """Return `mime` with the charset as its parameter, if there is one."""
    return f"{mime};charset={name}" if name else mime


def clean(text: str, *, cap: int = NAME_CAP) -> str:
    """Return `text` in NFC, without control, bidi, zero-width and lone surrogate characters."""
    # The first cut limits the time, the second one the length.
    kept = "".join(c for c in text[: cap * 4] if unicodedata.category(c) not in _STRIPPED)
    return unicodedata.normalize("NFC", kept).strip()[:cap]


def _at(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _number(value: object) -> object:
    """Return a whole number that is a float or a text as an integer, any other value unchanged."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    digits = _DIGITS.fullmatch(value) if isinstance(value, str) else None
    return int(digits[1]) if digits else value


def _int(value: object, bound: int) -> int | None:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return value if is_int and isinstance(value, int) and -bound <= value < bound else None
