"""Answers of the portal in place of a document, although the status is 200. Pure.

A file with exactly the listed size is proven, so its content does not matter. Only
`reject_page_shell` checks such files, too. All other files are judged by their content.
"""

from __future__ import annotations

import json
import re

from actors.contents.content_types import JSON, TEXT, is_shown, is_textual
from actors.contents.magic import HTML, XML, as_utf_8, by_magic, is_html_page
from storage.errors import TransientError

_WORDS = rb"portal\s+de\s+servi(?:\xc3\xa7|\xc3\x87|\xe7|&ccedil;|&#231;)os"
_ROOT = re.compile(rb"<app-root\b", re.I)
_TITLE = re.compile(rb"<title[^>]{0,200}>[^<]{0,500}" + _WORDS, re.I)
_SHELL_WORDS = re.compile(_WORDS, re.I)
# A court's own page may name the portal. Only a page as small as the shell counts as the shell.
_SHELL_MAX_BYTES = 4_096
_LOGIN = re.compile(rb"<input\b[^>]{0,500}\btype\s*=\s*[\"']?password\b|kc-form-login", re.I)
# An object at its first key, or an array of texts at its first text, cut after it or within.
_CUT_JSON = re.compile(
    rb"(?:\[\s*)*+(?:"
    rb'\{\s*(?:$|\}|"[^"]*(?:$|"\s*(?:$|:)))'
    rb'|(?<=\[)\s*"[^"]*(?:$|"\s*(?:$|[,\]])))'
)


def reject_page_shell(head: bytes, *, is_whole: bool) -> None:
    """Raise TransientError NOT_A_DOCUMENT for the page of the portal's web app.

    The check applies even with a matching listed size: then the page was counted in place of the
    document. The page must have both marks, because a court's own page may have one of them.
    """
    is_small = is_whole and len(head) <= _SHELL_MAX_BYTES
    if is_html_page(head) and is_small and _ROOT.search(head) and _TITLE.search(head):
        raise _shell()


def reject_non_document(
    head: bytes, *, is_whole: bool, header_type: str | None, listed_type: str | None
) -> None:
    """Raise TransientError NOT_A_DOCUMENT if an unproven text is no document.

    `is_whole`: whether its beginning, `head`, is all of it. The types are those of the answer's
    header and of the listing, None if they declare none.
    """
    head = as_utf_8(head)
    if is_html_page(head):
        _refuse_page(head, is_whole, header_type)
    kind = _kind(head, is_whole, header_type)
    if kind == JSON and listed_type != JSON:
        raise TransientError("NOT_A_DOCUMENT", "The portal sent a message instead of the document.")
    if is_shown(header_type) or not _may_be(kind, listed_type, head):
        raise TransientError(
            "NOT_A_DOCUMENT", "The portal sent a page or a text instead of the document."
        )


def _refuse_page(head: bytes, is_whole: bool, header_type: str | None) -> None:
    is_small = is_whole and len(head) <= _SHELL_MAX_BYTES
    if _ROOT.search(head) or _TITLE.search(head) or (is_small and _SHELL_WORDS.search(head)):
        raise _shell()
    if header_type not in (None, HTML) or _LOGIN.search(head):
        raise TransientError(
            "NOT_A_DOCUMENT", "The portal sent a web page instead of the document."
        )


def _shell() -> TransientError:
    return TransientError(
        "NOT_A_DOCUMENT",
        "The portal sent its own web page instead of the document.",
        is_few=True,
    )


def _kind(head: bytes, is_whole: bool, header_type: str | None) -> str:
    """Return the kind of text: HTML, XML, JSON or TEXT."""
    kind = by_magic(head)
    if kind is None and (_is_json_type(header_type) or _is_json(head, is_whole)):
        return JSON
    return kind if kind in (HTML, XML) else TEXT


def _may_be(kind: str, listed_type: str | None, head: bytes) -> bool:
    """Return whether a text of this kind may be the document listed as `listed_type`."""
    if listed_type is None:
        return True
    if not is_textual(listed_type):
        return False
    listed = listed_type if listed_type in (HTML, JSON) else _family(listed_type)
    if kind == HTML and not is_html_page(head):
        # Courts list fragments under any kind of text.
        return listed != JSON
    is_loose = listed == HTML or (listed == XML and head.lstrip().startswith(b"<"))
    return kind == listed or (kind == TEXT and is_loose)


def _family(listed_type: str) -> str:
    if listed_type == XML or listed_type.endswith("+xml"):
        return XML
    return JSON if listed_type.endswith("+json") else TEXT


def _is_json_type(header_type: str | None) -> bool:
    return header_type is not None and (header_type.endswith("+json") or header_type == JSON)


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
