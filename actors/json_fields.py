"""Fields of JSON that somebody else wrote: a wrong type counts as absent."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

NAME_CAP = 1_000

# Cc control, Cf format (bidi, zero width), Cs lone surrogates (no UTF-8), Zl and Zp line breaks.
_STRIPPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_INT32 = 2**31
_INT64 = 2**63


def dict_at(value: object, key: str) -> dict[str, Any]:
    """The object at `key`, else an empty one."""
    found = _at(value, key)
    return found if isinstance(found, dict) else {}


def dicts_at(value: object, key: str) -> list[dict[str, Any]]:
    """The objects of the array at `key`; what is no object is left out."""
    found = _at(value, key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text_at(value: object, key: str, *, cap: int = NAME_CAP) -> str:
    """The text at `key`, fit for PostgreSQL and for showing: `cap` characters at most."""
    found = _at(value, key)
    return clean(found, cap=cap) if isinstance(found, str) else ""


def raw_text_at(value: object, key: str) -> str:
    """The text at `key` as it came; whole numbers are taken for their digits."""
    found = _at(value, key)
    if isinstance(found, int) and not isinstance(found, bool) and -_INT64 <= found < _INT64:
        return str(found)
    return found if isinstance(found, str) else ""


def int_at(value: object, key: str) -> int | None:
    """The 32-bit integer at `key`."""
    return _int(_at(value, key), _INT32)


def size_at(value: object, key: str) -> int | None:
    """The size at `key` in bytes. 0 tells nothing: no document is empty."""
    size = _int(_at(value, key), _INT64)
    return size if size is not None and size > 0 else None


def mime_at(value: object, key: str) -> str | None:
    """The MIME type at `key`, in lower case, without parameters."""
    found = _at(value, key)
    return mime_type(found) if isinstance(found, str) else None


def mime_type(text: str) -> str | None:
    """The MIME type in a Content-Type, in lower case, without parameters; None if it is none."""
    essence = text.partition(";")[0].strip().lower()
    return essence if _MIME.fullmatch(essence) else None


def clean(text: str, *, cap: int = NAME_CAP) -> str:
    """`text` in NFC, without control, bidi, zero-width and lone surrogate characters."""
    # The cut before is for time, the one after for the promise.
    kept = "".join(c for c in text[: cap * 4] if unicodedata.category(c) not in _STRIPPED)
    return unicodedata.normalize("NFC", kept).strip()[:cap]


def _at(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _int(value: object, bound: int) -> int | None:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return value if is_int and isinstance(value, int) and -bound <= value < bound else None
