"""Find the documents of a case in the portal's answer. Pure.

Two places of documents are known (docs/reference/portal.md), but courts use others. So the walk
reads the whole answer. Unreadable content never counts as empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.case_file.case_limits import MOST_ENTRIES, ListingTooLarge
from actors.case_file.document_lists import SURE_MARKS, FoundDocument, listed
from actors.case_file.links import other_href
from actors.case_file.mentions import is_mention, is_person, referred, unlisted
from actors.case_file.pages import is_beside_page, is_page_of_more, size_of, stated_documents
from actors.case_file.proceedings import instance_of, is_page_of_proceedings, messages_in
from actors.contents.json_fields import dict_at, text_at
from storage.errors import TransientError
from storage.process_number import digits

_LIST = "documentos"
# The own `documentos` of these objects belong to the case.
_PROCEEDINGS = ("tramitacaoAtual", "tramitacoes")
_NEAR = (*_PROCEEDINGS, "dadosBasicos", "processo", "content")
# A case number without its leading zeros still has its year. Smaller numbers are other ids.
_SMALLEST_NUMBER = 10**12


@dataclass(frozen=True, slots=True)
class _Spot:
    """A value of the answer, with what the path to it shows.

    `is_near`: the value stands so near to the case that a `documentos` in it is the case's own.
    `is_attached`: a `documentos` in it has the attachments of a document. `key`: the field name of
    the value. `is_personal`: it is a part of a person.
    """

    value: object
    instance: str = ""
    key: str = ""
    is_near: bool = True
    is_proceeding: bool = False
    is_attached: bool = False
    is_personal: bool = False


@dataclass
class _Reading:
    """The results of a walk through an answer."""

    process_number: str
    found: list[FoundDocument] = field(default_factory=list)
    places: int = 0
    has_known_list: bool = False
    has_unread: bool = False
    mentioned: list[FoundDocument] = field(default_factory=list)
    # Their ids, if only an id refers to them. Movements repeat those of every document.
    referred: set[str] = field(default_factory=set)
    # Parts of the answer that show that documents may be missing: texts, numbers and errors in
    # place of a proceeding, other parts without documents, and single pages of several.
    gaps: int = 0
    # The `id()` of each object that was read as a document of a list.
    read: set[int] = field(default_factory=set)
    # The most documents that the answer states in a number.
    stated: int = 0

    def add(self, found: FoundDocument, *, is_mentioned: bool = False) -> None:
        """Add a document, or a mention of one. Raises ListingTooLarge."""
        if len(self.found) + len(self.mentioned) >= MOST_ENTRIES:
            raise ListingTooLarge(f"{MOST_ENTRIES:,} documents")
        (self.mentioned if is_mentioned else self.found).append(found)


def documents_of(
    cases: list[dict[str, Any]], process_number: str, *, rest: Sequence[object] = ()
) -> list[FoundDocument]:
    """Return every document of a case, those of its known lists first.

    `rest`: parts of the answer beside `cases` that may be about this case. Raises
    TransientError PORTAL_ERROR if there is no document and no empty known list confirms that, and
    if one of the case's own lists contains an object that is no document. Raises ListingTooLarge.
    """
    reading = _Reading(process_number, has_unread=bool(rest))
    has_known_list = False
    for case in cases:
        before, reading.has_known_list = len(reading.found), False
        _read_case(reading, case)
        # An object without documents may be an error message that names the case.
        reading.gaps += not (reading.has_known_list or len(reading.found) > before)
        has_known_list |= reading.has_known_list
    for part in rest:
        before = len(reading.found)
        _walk(reading, _Spot(part))
        reading.gaps += bool(part) and len(reading.found) == before
    is_less = len(reading.found) < reading.stated
    if not reading.found and (reading.has_unread or is_less or not has_known_list):
        raise unreadable()
    if reading.mentioned:
        reading.found += unlisted(reading.mentioned, reading.found)
        is_less = reading.stated > len(reading.found)
    for _ in range(reading.gaps or is_less):
        # A document without a link makes the job show that documents are missing.
        reading.places += 1
        reading.add(FoundDocument({}, reading.places, ""))
    return reading.found


def _read_case(reading: _Reading, case: dict[str, Any]) -> None:
    present = instance_of(dict_at(case, "tramitacaoAtual"))
    known = {key: case[key] for key in _PROCEEDINGS if key in case}
    if any(map(is_page_of_proceedings, known.values())):
        raise unreadable()
    others = {key: value for key, value in case.items() if key not in known}
    _walk(reading, _Spot(known))
    _walk(reading, _Spot(others, instance=present))
    reading.has_unread |= not all(map(_is_readable, known.items()))
    # A number in such a form cannot be read: it may be that of another case.
    reading.has_unread |= isinstance(case.get("numeroProcesso"), dict | list | float)
    reading.gaps += messages_in(known.values())


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
    # One iterator for each level, so that a list of millions of values needs no memory here. Beside
    # it: how many documents were found before the level, if its object is one page of several.
    levels: list[tuple[Iterator[_Spot], int | None]] = [(iter([start]), None)]
    while levels:
        spots, before = levels[-1]
        spot = next(spots, None)
        if spot is None:
            levels.pop()
            # This page had documents, so the other pages have some, too.
            reading.gaps += before is not None and len(reading.found) > before
        elif isinstance(spot.value, list):
            levels.append((_elements(spot, spot.value), None))
        elif isinstance(spot.value, dict) and not _is_skipped(reading, spot, spot.value):
            count = len(reading.found) if _is_page(spot, spot.value) else None
            # All fields of an object are read before the content of any of them.
            levels.append((iter(list(_fields(reading, spot, spot.value))), count))


def _is_page(spot: _Spot, value: dict[str, Any]) -> bool:
    """Return whether an object outside the case's own lists has lists that are incomplete."""
    size = None if spot.is_near else size_of(value)
    return size is not None and is_beside_page(value, size)


def _elements(spot: _Spot, values: list[object]) -> Iterator[_Spot]:
    for value in values:
        if isinstance(value, dict | list) and value:
            near = (spot.is_near, spot.is_proceeding)
            yield _Spot(value, spot.instance, spot.key, *near, is_personal=spot.is_personal)


def _is_skipped(reading: _Reading, spot: _Spot, value: dict[str, Any]) -> bool:
    """Return whether an object is not walked: a document that was read, or another case.

    Such a case may depend on this one.
    """
    is_other = not spot.is_proceeding and names_other_case(value, reading.process_number)
    return is_other or id(value) in reading.read


def names_other_case(value: dict[str, Any], process_number: str) -> bool:
    """Return whether an object has the number of another case, as a text or as a number."""
    number = value.get("numeroProcesso")
    is_number = isinstance(number, int) and number >= _SMALLEST_NUMBER
    text = f"{number:020d}" if is_number else text_at(value, "numeroProcesso")
    return digits(text) not in ("", digits(process_number))


def _fields(reading: _Reading, spot: _Spot, value: dict[str, Any]) -> Iterator[_Spot]:
    """Yield the fields of an object that is no document; read its `documentos` on the way."""
    instance = instance_of(value) or spot.instance
    # Parties stand in proceedings, which may have such a field themselves.
    is_personal = spot.is_personal or (not spot.is_near and is_person(spot.key, value))
    near = (spot.is_near, spot.is_proceeding, spot.is_attached)
    own = _Spot(value, instance, spot.key, *near, is_personal)
    own_list = value.get(_LIST)
    size = len(own_list) if isinstance(own_list, list) else None
    if spot.is_near and is_beside_page(value, size):
        raise unreadable()
    if spot.is_near:
        reading.stated = max(reading.stated, stated_documents(value))
    if "hrefBinario" in value or other_href(value, reading.process_number):
        reading.places += 1
        reading.add(FoundDocument(value, reading.places, instance, is_inherited=True))
    else:
        reading.has_unread |= any(mark in value for mark in SURE_MARKS)
        if is_mention(value):
            reading.places += 1
            found = FoundDocument(value, reading.places, instance, is_inherited=True)
            reading.add(found, is_mentioned=True)
    for key, item in value.items():
        if key == _LIST:
            yield from _read_list(reading, own, item)
        elif isinstance(item, dict | list) and item:
            is_near = spot.is_near and key in _NEAR
            is_proceeding = is_near and key in _PROCEEDINGS
            yield _Spot(item, instance, key, is_near, is_proceeding, is_personal=is_personal)


def _read_list(reading: _Reading, spot: _Spot, value: object) -> Iterator[_Spot]:
    """Read a `documentos`; the fields of its documents are walked through like others."""
    reading.places += 1
    reading.has_known_list |= spot.is_proceeding
    if value in (None, [], {}):
        return
    documents = [*listed(value, is_near=spot.is_near or spot.is_attached)]
    has_no_references = spot.is_near or spot.is_attached or spot.is_personal
    for key, each in () if has_no_references else referred(value):
        if key in reading.referred:
            continue
        reading.referred.add(key)
        found = FoundDocument(each, reading.places, spot.instance, key, is_inherited=True)
        reading.add(found, is_mentioned=True)
    is_all = not is_page_of_more(value, len(documents))
    if not (is_all and any(document for _, document in documents)):
        reading.has_unread = True
        if spot.is_near:
            raise unreadable()
        if not (spot.is_attached or documents):
            yield _Spot(value, spot.instance, is_near=False, is_personal=spot.is_personal)
            return
        if all(document for _, document in documents):
            # A document without a link shows that attachments are missing.
            documents.append(("", {}))
    for key, document in documents:
        place, is_inherited = reading.places, not spot.is_proceeding
        reading.add(FoundDocument(document, place, spot.instance, key, is_inherited))
        reading.read.add(id(document))
        yield from _inner(spot, document)
    if not isinstance(value, list) or any(id(each) not in reading.read for each in value):
        # An element that is no document may contain documents.
        yield _Spot(value, spot.instance, is_near=False, is_personal=spot.is_personal)


def _inner(spot: _Spot, document: dict[str, Any]) -> Iterator[_Spot]:
    """Yield the fields of a document. Its own `documentos` are its attachments."""
    for name, item in document.items():
        if name == _LIST:
            yield _Spot({name: item}, spot.instance, is_near=False, is_attached=True)
        elif isinstance(item, dict | list) and name != "arquivo":
            yield _Spot(item, spot.instance, name, is_near=False)
