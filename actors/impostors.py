"""Answers of the portal that come in place of a document although the status says 200."""

from __future__ import annotations

import json
import re

from actors.content_types import HTML, by_magic, is_html_page
from storage.errors import TransientError

_WORDS = rb"portal\s+de\s+servi(?:\xc3\xa7|\xc3\x87|\xe7|&ccedil;|&#231;)os"
_SHELL = re.compile(rb"<app-root\b|<title[^>]{0,200}>[^<]{0,500}" + _WORDS, re.I)
_SHELL_WORDS = re.compile(_WORDS, re.I)
# A court's own page may well name the portal; one as small as the shell that does is the shell.
_SHELL_MAX_BYTES = 4_096
_LOGIN = re.compile(rb"<input\b[^>]{0,500}\btype\s*=\s*[\"']?password\b|kc-form-login", re.I)
# An object at its first key, or an array of texts at its first text, cut after it or within.
_CUT_JSON = re.compile(
    rb"(?:\[\s*)*+(?:"
    rb'\{\s*(?:$|\}|"[^"]*(?:$|"\s*(?:$|:)))'
    rb'|(?<=\[)\s*"[^"]*(?:$|"\s*(?:$|[,\]])))'
)


def refuse_impostor(
    head: bytes, *, is_whole: bool, header_type: str | None, listed_type: str | None
) -> None:
    """Raises TransientError NOT_A_DOCUMENT if what begins with `head` is no document.

    `is_whole` says whether `head` is everything; the types are what the answer's header and the
    listing say, None when they say nothing.
    """
    if is_html_page(head):
        _refuse_page(head, is_whole, header_type, listed_type)
    elif by_magic(head) is None and (_is_json_type(header_type) or _is_json(head, is_whole)):
        raise TransientError("NOT_A_DOCUMENT", "The portal sent a message instead of the document.")


def _refuse_page(
    head: bytes, is_whole: bool, header_type: str | None, listed_type: str | None
) -> None:
    is_small = is_whole and len(head) <= _SHELL_MAX_BYTES
    if _SHELL.search(head) or (is_small and _SHELL_WORDS.search(head)):
        raise TransientError(
            "NOT_A_DOCUMENT",
            "The portal sent its own web page instead of the document.",
            is_few=True,
        )
    is_expected = header_type in (None, HTML) and listed_type in (None, HTML)
    if not is_expected or _LOGIN.search(head):
        raise TransientError(
            "NOT_A_DOCUMENT", "The portal sent a web page instead of the document."
        )


def _is_json_type(header_type: str | None) -> bool:
    return header_type is not None and (
        header_type.endswith("+json") or header_type in ("application/json", "text/json")
    )


def _is_json(head: bytes, is_whole: bool) -> bool:
    body = head.removeprefix(b"\xef\xbb\xbf").strip()
    if not body.startswith((b"{", b"[")):
        return False
    if _CUT_JSON.match(body):
        return True
    try:
        json.loads(body)
    except RecursionError:
        return True
    except ValueError:
        return False
    return is_whole
