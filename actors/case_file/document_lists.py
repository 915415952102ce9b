"""The documents in a `documentos`, in whatever shape courts send it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# An object with one of these is a document at any place.
SURE_MARKS = ("hrefBinario", "hrefTexto", "arquivo", "dataHoraJuntada")
_MARKS = (*SURE_MARKS, "idOrigem", "sequencia", "nome")
# Ids have digits; the names of other fields, such as "page", have none.
_DIGIT = re.compile(r"[0-9]")
_ID = re.compile(r"(?=\D{0,36}[0-9])[0-9a-fA-F-]{1,36}")


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """An object of the answer that describes a document.

    Attributes:
        listed: the object as the portal sent it; empty if it could not be read.
        place: the number of its list in the answer, in the order of reading.
        instance: the instance that holds it; "" if the answer names none.
        key: its field name, if the list is an object with one field for each document.
        is_inherited: the instance comes from an outer object, not from the list's proceeding.
    """

    listed: dict[str, Any]
    place: int
    instance: str
    key: str = ""
    is_inherited: bool = False


def listed(value: object, *, is_near: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents of a `documentos`, each with its field name, "" in a list.

    An unreadable document among others is an empty object. `is_near`: the list is the case's own,
    so each of its elements is a document.
    """
    if isinstance(value, list):
        for each in value:
            if wrapped := _wrapped(each, is_near=is_near):
                yield from (("", one) for one in wrapped)
            elif is_near or is_document(each, is_near=is_near):
                yield "", each if isinstance(each, dict) else {}
    elif isinstance(value, dict):
        if is_document(value, is_near=is_near):
            yield "", value
            return
        is_by_id = any(is_document(each, is_near=is_near) for each in value.values())
        for key, each in value.items():
            if is_document(each, is_near=is_near):
                yield key, each
            elif isinstance(each, list):
                yield from (("", one) for one in _readable_or_empty(each, is_near=is_near))
            elif is_by_id and (is_id(key) if isinstance(each, str | int) else _DIGIT.search(key)):
                # Its field name is an id, as those of its neighbours are, so it is a document.
                yield key, {}


def _readable_or_empty(values: list[object], *, is_near: bool) -> list[dict[str, Any]]:
    """Return the documents of a list, and an empty object for each other element.

    Return nothing for a list without any document.
    """
    read = [
        each if isinstance(each, dict) and is_document(each, is_near=is_near) else {}
        for each in values
    ]
    return read if any(read) else []


def is_id(text: str) -> bool:
    """Return whether a text is a number or a UUID: no field has such a name."""
    return _ID.fullmatch(text) is not None


def _wrapped(value: object, *, is_near: bool) -> list[dict[str, Any]]:
    """Return the documents in the fields of an object that is no document itself."""
    if not isinstance(value, dict) or is_document(value, is_near=is_near):
        return []
    lists = [each if isinstance(each, list) else [each] for each in value.values()]
    return [one for each in lists for one in _readable_or_empty(each, is_near=is_near)]


def is_document(value: object, *, is_near: bool) -> bool:
    """Return whether an object has a mark of a document. `is_near`: see `listed`."""
    marks = _MARKS if is_near else SURE_MARKS
    return isinstance(value, dict) and any(mark in value for mark in marks)
