"""The links of a listing that may be requested."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from storage.process_number import digits

_END = "/binario"
_HREF = re.compile(
    r"(?:/api/v2)?/processos/(?P<number>[0-9.-]{20,25})"
    r"/documentos/(?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/binario"
)


def other_href(document: dict[str, Any], process_number: str) -> str:
    """Return the link in a document's object whose field is not `hrefBinario`; empty if none."""
    texts = (each for each in document.values() if isinstance(each, str) and _END in each)
    return next((each for each in texts if trusted_href(each, process_number)), "")


def trusted_href(href: str, process_number: str) -> str | None:
    """Return the canonical path of a document's file, relative to the portal's API.

    Return None unless `href` is exactly the path of a file of this case: no other host or case, no
    query, fragment, dots or encodings. `process_number` is the punctuated form.
    """
    match = _HREF.fullmatch(href)
    if match is None or match["number"] not in (process_number, digits(process_number)):
        return None
    return f"/processos/{process_number}/documentos/{UUID(match['uuid'])}/binario"
