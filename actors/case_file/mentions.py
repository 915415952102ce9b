"""Documents that an answer mentions without a link, outside every list of documents. Pure.

A mention of a listed document is no other document. Every other mention is one that the listing
lacks, so it becomes a document without a link: the case is not whole without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from actors.case_file.document_lists import Found
from actors.contents.json_fields import dict_at, raw_text_at, size_at

Json = dict[str, Any]


def is_mention(value: Json) -> bool:
    """Return whether an object at any place describes a document."""
    if dict_at(value, "arquivo") or raw_text_at(value, "hrefTexto"):
        return True
    # Movements have times, too.
    is_identified = raw_text_at(value, "idOrigem") or raw_text_at(value, "nome")
    return bool(value.get("dataHoraJuntada") and is_identified)


def unlisted(mentions: Iterable[Found], found: Iterable[Found]) -> list[Found]:
    """Return the mentions of documents that are none of those that were found."""
    sizes: dict[str, set[int | None]] = {}
    for each in found:
        for mark in _marks(each.listed):
            sizes.setdefault(mark, set()).add(_size(each.listed))
    return [each for each in mentions if not _is_one_of(sizes, each.listed)]


def _is_one_of(sizes: dict[str, set[int | None]], document: Json) -> bool:
    size = _size(document)
    known = [sizes[mark] for mark in _marks(document) if mark in sizes]
    # Another size shows another file.
    return any(size is None or size in found or None in found for found in known)


def _size(document: Json) -> int | None:
    return size_at(dict_at(document, "arquivo"), "tamanho")


def _marks(document: Json) -> Iterator[str]:
    if own_id := raw_text_at(document, "idOrigem").strip():
        yield f"id:{own_id}"
    for key, end in (("hrefBinario", "/binario"), ("hrefTexto", "/texto")):
        if link := raw_text_at(document, key).removesuffix(end):
            yield f"link:{link}"
    name, time = raw_text_at(document, "nome"), document.get("dataHoraJuntada")
    if name and time:
        yield f"name:{name} {time}"
