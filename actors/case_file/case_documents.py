"""The places of a case's documents in the portal's answer. Pure.

Two places are known, and courts use others. Unreadable content never counts as empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.case_file.case_limits import MOST_ENTRIES, ListingTooLarge
from actors.case_file.pages import is_beside_page, is_page_of_more
from actors.contents.json_fields import dict_at, raw_text_at, text_at
from storage.errors import TransientError
from storage.process_number import digits

_LIST = "documentos"
# The own `documentos` of these objects belong to the case.
_PROCEEDINGS = ("tramitacaoAtual", "tramitacoes")
_NEAR = (*_PROCEEDINGS, "dadosBasicos", "processo", "content")
# An object with one of these is a document at any place.
_SURE_MARKS = ("hrefBinario", "hrefTexto", "arquivo", "dataHoraJuntada")
_MARKS = (*_SURE_MARKS, "idOrigem", "sequencia", "nome")
# A case number without its leading zeros still has its year. Smaller numbers are other ids.
_SMALLEST_NUMBER = 10**12
# Ids have digits; the names of other fields, such as "page", have none.
_DIGIT = re.compile(r"[0-9]")
_INSTANCES = {"PRIMEIRO_GRAU": "G1", "SEGUNDO_GRAU": "G2"}


@dataclass(frozen=True, slots=True)
class Found:
    """A document object in the list number `place`; `key` is its name in an object.

    `instance` is "" if the answer names none. `is_inherited`: the instance is not its own list's.
    """

    listed: dict[str, Any]
    place: int
    instance: str
    key: str = ""
    is_inherited: bool = False


@dataclass(frozen=True, slots=True)
class _Spot:
    """A value of the answer, with what the path to it shows."""

    value: object
    instance: str = ""
    key: str = ""
    is_near: bool = True
    is_proceeding: bool = False


@dataclass
class _Reading:
    """The results of a walk through an answer."""

    process_number: str
    found: list[Found] = field(default_factory=list)
    places: int = 0
    has_known_list: bool = False
    has_unread: bool = False
    # Texts and numbers in place of a proceeding.
    messages: int = 0

    def add(self, found: Found) -> None:
        """Add a document. Raises ListingTooLarge."""
        if len(self.found) == MOST_ENTRIES:
            raise ListingTooLarge(f"{MOST_ENTRIES:,} documents")
        self.found.append(found)


def documents_of(
    cases: list[dict[str, Any]], process_number: str, *, is_partly_read: bool = False
) -> list[Found]:
    """Return every document of a case, those of its known lists first.

    `is_partly_read`: the answer has parts beside `cases` that may be about this case. Raises
    TransientError PORTAL_ERROR if there is no document and no empty known list confirms that, and
    if one of the case's own lists contains an object that is no document. Raises ListingTooLarge.
    """
    reading = _Reading(process_number, has_unread=is_partly_read)
    for case in cases:
        present = instance_of(dict_at(case, "tramitacaoAtual"))
        known = {key: case[key] for key in _PROCEEDINGS if key in case}
        others = {key: value for key, value in case.items() if key not in known}
        _walk(reading, _Spot(known))
        _walk(reading, _Spot(others, instance=present))
        reading.has_unread |= not all(map(_is_readable, known.items()))
        # Such a number may be that of another case.
        reading.has_unread |= isinstance(case.get("numeroProcesso"), dict | list | float)
        reading.messages += sum(map(_is_message, _parts_of(known)))
    if not reading.found and (reading.has_unread or not reading.has_known_list):
        raise unreadable()
    for _ in range(reading.messages):
        # The documents of a proceeding are missing. One without a link shows that.
        reading.places += 1
        reading.add(Found({}, reading.places, ""))
    return reading.found


def _parts_of(known: dict[str, Any]) -> list[Any]:
    """Return the proceedings of a case, each in whatever form it is."""
    parts = known.values()
    return [part for each in parts for part in (each if isinstance(each, list) else [each])]


def _is_message(part: object) -> bool:
    """Return whether a text or a number is in place of a proceeding."""
    return bool(part) and not isinstance(part, dict | list)


def unreadable() -> TransientError:
    """Return the error for a listing with unreadable documents, or without any list."""
    return TransientError(
        "PORTAL_ERROR", "The portal's answer does not contain the list of documents.", is_few=True
    )


def _is_readable(item: tuple[str, object]) -> bool:
    key, value = item
    if isinstance(value, list) and key == "tramitacoes":
        return all(isinstance(each, dict) for each in value)
    return value is None or (isinstance(value, dict) and key == "tramitacaoAtual")


def _walk(reading: _Reading, start: _Spot) -> None:
    # One iterator for each level: a list of millions of values needs no memory here.
    levels = [iter([start])]
    while levels:
        spot = next(levels[-1], None)
        if spot is None:
            levels.pop()
        elif isinstance(spot.value, list):
            levels.append(_elements(spot, spot.value))
        elif isinstance(spot.value, dict) and not _is_other_case(reading, spot, spot.value):
            # All fields of an object come before what is in them.
            levels.append(iter(list(_fields(reading, spot, spot.value))))


def _elements(spot: _Spot, values: list[object]) -> Iterator[_Spot]:
    for value in values:
        if isinstance(value, dict | list) and value:
            yield _Spot(value, spot.instance, spot.key, spot.is_near, spot.is_proceeding)


def _is_other_case(reading: _Reading, spot: _Spot, value: dict[str, Any]) -> bool:
    """Return whether an object is another case, for example one that depends on this case."""
    return not spot.is_proceeding and names_other_case(value, reading.process_number)


def names_other_case(value: dict[str, Any], process_number: str) -> bool:
    """Return whether an object has the number of another case, as a text or as a number."""
    number = value.get("numeroProcesso")
    is_number = isinstance(number, int) and number >= _SMALLEST_NUMBER
    text = f"{number:020d}" if is_number else text_at(value, "numeroProcesso")
    return digits(text) not in ("", digits(process_number))


def _fields(reading: _Reading, spot: _Spot, value: dict[str, Any]) -> Iterator[_Spot]:
    """Yield the fields of an object that is no document; read its `documentos` on the way."""
    instance = instance_of(value) or spot.instance
    own = _Spot(value, instance, spot.key, spot.is_near, spot.is_proceeding)
    listed = value.get(_LIST)
    if spot.is_near and is_beside_page(value, len(listed) if isinstance(listed, list) else None):
        raise unreadable()
    if "hrefBinario" in value:
        reading.places += 1
        reading.add(Found(value, reading.places, instance, is_inherited=True))
    else:
        reading.has_unread |= any(mark in value for mark in _SURE_MARKS)
    for key, item in value.items():
        if key == _LIST:
            yield from _read_list(reading, own, item)
        elif isinstance(item, dict | list) and item:
            is_near = spot.is_near and key in _NEAR
            yield _Spot(item, instance, key, is_near, is_near and key in _PROCEEDINGS)


def _read_list(reading: _Reading, spot: _Spot, value: object) -> Iterator[_Spot]:
    """Read a `documentos`; the fields of its documents are walked through like others."""
    reading.places += 1
    reading.has_known_list |= spot.is_proceeding
    if value in (None, [], {}):
        return
    documents = [*_listed(value, spot)]
    is_all = not is_page_of_more(value, len(documents))
    if not (is_all and any(document for _, document in documents)):
        reading.has_unread = True
        if spot.is_near:
            raise unreadable()
        return
    for key, document in documents:
        place, is_inherited = reading.places, not spot.is_proceeding
        reading.add(Found(document, place, spot.instance, key, is_inherited))
        yield from (
            _Spot(item, spot.instance, name, is_near=False)
            for name, item in document.items()
            if isinstance(item, dict | list) and name != "arquivo"
        )


def _listed(value: object, spot: _Spot) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the documents of a `documentos`, each with its name if it has one there.

    An unreadable document among others is returned as an empty object.
    """
    if isinstance(value, list):
        for each in value:
            if wrapped := _wrapped(each, spot):
                yield from (("", one) for one in wrapped)
            elif spot.is_near or _is_document(each, spot):
                yield "", each if isinstance(each, dict) else {}
    elif isinstance(value, dict):
        if _is_document(value, spot):
            yield "", value
            return
        is_by_id = any(_is_document(each, spot) for each in value.values())
        for key, each in value.items():
            if _is_document(each, spot):
                yield key, each
            elif isinstance(each, list):
                yield from (("", one) for one in _readable_or_empty(each, spot))
            elif is_by_id and _DIGIT.search(key) and (each is None or isinstance(each, dict)):
                # At an id like those of its neighbours, so it is a document.
                yield key, {}


def _readable_or_empty(values: list[object], spot: _Spot) -> list[dict[str, Any]]:
    """Return the documents of a list, and an empty object for each other element.

    Return nothing for a list without any document.
    """
    read = [each if isinstance(each, dict) and _is_document(each, spot) else {} for each in values]
    return read if any(read) else []


def _wrapped(value: object, spot: _Spot) -> list[dict[str, Any]]:
    """Return the documents in the fields of an object that is none itself."""
    if not isinstance(value, dict) or _is_document(value, spot):
        return []
    lists = [each if isinstance(each, list) else [each] for each in value.values()]
    return [one for each in lists for one in _readable_or_empty(each, spot)]


def _is_document(value: object, spot: _Spot) -> bool:
    marks = _MARKS if spot.is_near else _SURE_MARKS
    return isinstance(value, dict) and any(mark in value for mark in marks)


def instance_of(proceeding: dict[str, Any]) -> str:
    """Return the instance that an object names, unchanged."""
    sigla = raw_text_at(dict_at(proceeding, "grau"), "sigla").strip()
    named = raw_text_at(proceeding, "instancia").strip()
    return sigla or _INSTANCES.get(named, named)
