"""Documents that an answer mentions without a link, outside every list of documents. Pure.

A mention of a listed document adds nothing. Any other mention shows a document that the lists lack.
It becomes a document without a link, because the case is not whole without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from actors.case_file.document_lists import FoundDocument, is_document, is_id
from actors.contents.content_types import by_name
from actors.contents.json_fields import dict_at, raw_text_at, size_at

Json = dict[str, Any]
# By mark (an id, a link, or a name with a time): the sizes of the documents with that mark.
_Sizes = dict[str, set[int | None]]

# Courts refer to a document by one of these.
_IDS = ("idOrigem", "idCodex", "idDocumento", "id", "uuid")
_DESCRIBES = frozenset({"arquivo", "hrefTexto", "nome", "dataHoraJuntada"})
# An identity card of a person has one of these. Courts list such cards in a `documentos`, too.
_CARD = ("numero", "codigoDocumento", "emissorDocumento")
# What has one of these, or stands in a field of this name, is a person.
_PERSON = frozenset({"tipoPessoa", "polo", "representantes"})
_PERSONS = re.compile(
    r"(?:partes?|pessoas?|polos?|participantes?|representantes?|advogad[oa]s?|procurador(?:es)?"
    r"|interessad[oa]s?|usuarios?|magistrad[oa]s?)(?:[A-Z_]\w*)?"
)


def is_mention(value: Json) -> bool:
    """Return whether an object at any place describes a document."""
    # Most objects of a large answer have none of these fields.
    if _DESCRIBES.isdisjoint(value):
        return False
    if dict_at(value, "arquivo") or raw_text_at(value, "hrefTexto"):
        return True
    name = raw_text_at(value, "nome")
    if "." in name and by_name(name) and _ids(value):
        return True
    # Movements have times, too.
    is_identified = raw_text_at(value, "idOrigem") or name
    return bool(value.get("dataHoraJuntada") and is_identified)


def is_person(key: str, value: Json) -> bool:
    """Return whether an object is a person, for example a party. `key`: its field."""
    return not _PERSON.isdisjoint(value) or _PERSONS.fullmatch(key) is not None


def referred(value: object) -> Iterator[tuple[str, Json]]:
    """Yield the references, as (id, object), in a `documentos` outside the case's own lists.

    The `documentos` of a person are none of these: the ids are those of identity cards.
    """
    for each in value if isinstance(value, list) else ():
        reference = each if isinstance(each, dict) else {"id": each}
        ids = _ids(reference)
        is_other = is_document(each, is_near=False) or any(reference.get(key) for key in _CARD)
        if ids and not is_other and (reference is each or is_id(ids[0])):
            yield ids[0], reference


def _ids(value: Json) -> list[str]:
    return [own_id for key in _IDS if (own_id := raw_text_at(value, key).strip())]


def unlisted(
    mentions: Iterable[FoundDocument], found: Iterable[FoundDocument]
) -> list[FoundDocument]:
    """Return the mentions that match no found document, each document once."""
    sizes: _Sizes = {}
    for each in found:
        _note(sizes, each.listed)
    missing = []
    for each in mentions:
        if not _is_one_of(sizes, each.listed):
            missing.append(each)
            _note(sizes, each.listed)
    return missing


def _note(sizes: _Sizes, document: Json) -> None:
    for mark in _marks(document):
        sizes.setdefault(mark, set()).add(_size(document))


def _is_one_of(sizes: _Sizes, document: Json) -> bool:
    size = _size(document)
    known = [sizes[mark] for mark in _marks(document) if mark in sizes]
    # Another size shows another file.
    return any(size is None or size in found or None in found for found in known)


def _size(document: Json) -> int | None:
    return size_at(dict_at(document, "arquivo"), "tamanho")


def _marks(document: Json) -> Iterator[str]:
    yield from (f"id:{own_id}" for own_id in _ids(document))
    for key, end in (("hrefBinario", "/binario"), ("hrefTexto", "/texto")):
        if link := raw_text_at(document, key).removesuffix(end):
            yield f"link:{link}"
            yield f"id:{link.rpartition('/')[2]}"
    name, time = raw_text_at(document, "nome"), document.get("dataHoraJuntada")
    if name and time:
        yield f"name:{name} {time}"
