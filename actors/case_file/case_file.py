"""Convert the portal's answer about a case into a listing. Pure.

The shapes of a case are in docs/reference/portal.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from typing import Any

from actors.case_file.case_data import case_data, proceedings_of
from actors.case_file.case_documents import (
    documents_of,
    names_other_case,
    unreadable,
)
from actors.case_file.document_lists import FoundDocument
from actors.case_file.duplicates import ListedEntry, joined, link_id
from actors.case_file.filed_times import filed_local_time
from actors.case_file.links import other_href, trusted_href
from actors.case_file.pages import is_page_of_more
from actors.case_file.proceedings import instance_of
from actors.contents.json_fields import (
    clean,
    count_at,
    dict_at,
    int_at,
    mime_at,
    raw_text_at,
    size_at,
    text_at,
)
from storage.errors import TransientError
from storage.listings.listed_case import CaseListing, ListedDocument
from storage.portal.slots import court_of

_CASE_FIELDS = ("numeroProcesso", "tramitacaoAtual", "tramitacoes", "nivelSigilo", "siglaTribunal")
_OWN_PREFIXES = ("#", "~", "uuid:")
_PLAIN_CAP = 200


def parse_case(body: object, process_number: str) -> CaseListing | None:
    """Return the listing in the portal's answer; None if the portal does not have the case.

    `body` is decoded JSON, `process_number` the punctuated form. Raises TransientError PORTAL_ERROR
    if the answer is about no case or another one, or does not contain the list of documents.
    """
    answers = _cases(body)
    if not answers:
        return None
    cases = [case for case in answers if _is_case(case, process_number)]
    if not cases:
        raise TransientError("PORTAL_ERROR", "The portal sent another case.", is_few=True)
    rest = [each for each in answers if not _names_case(each, process_number)]
    found = documents_of(cases, process_number, rest=rest)
    numbers = count(1)
    entries = [_entry(each, process_number, numbers) for each in found]
    data = case_data(cases, process_number)
    return CaseListing(_case_secrecy(cases), _in_order(joined(entries)), data)


def _in_order(documents: list[ListedDocument]) -> tuple[ListedDocument, ...]:
    """Sort by instance, in the order of their first documents, then by the court's own sequence.

    The portal's arrays may be unsorted. For equal sequences, the order of the array decides.
    """
    instances = list(dict.fromkeys(document.instance for document in documents))
    places = {instance: place for place, instance in enumerate(instances)}
    return tuple(sorted(documents, key=lambda d: (places[d.instance], d.sequence)))


def _cases(body: object) -> list[Any]:
    if isinstance(body, dict) and not any(field in body for field in _CASE_FIELDS):
        content = body.get("content")
        # A text beside an empty page is a message: it may be an error.
        is_message = content == [] and any(isinstance(v, str) and v for v in body.values())
        if is_message or is_page_of_more(body):
            raise unreadable()
        return content if isinstance(content, list) else [body]
    return body if isinstance(body, list) else [body]


def _is_case(case: object, process_number: str) -> bool:
    if not isinstance(case, dict) or not any(field in case for field in _CASE_FIELDS):
        return False
    return not names_other_case(case, process_number)


def _names_case(answer: object, process_number: str) -> bool:
    """Return whether a part of the answer certainly belongs to some case, this or another one."""
    return isinstance(answer, dict) and (
        _is_case(answer, process_number) or names_other_case(answer, process_number)
    )


def _case_secrecy(cases: list[dict[str, Any]]) -> int | None:
    levels = [int_at(case, "nivelSigilo") for case in cases]
    known = [level for level in levels if level is not None]
    # A proceeding may be more secret than its case.
    parts = (int_at(each, "nivelSigilo") for each in proceedings_of(cases))
    more = [level for level in parts if level is not None]
    return max(known + more) if len(known) == len(levels) else None


def _entry(found: FoundDocument, process_number: str, numbers: Iterator[int]) -> ListedEntry:
    """Return an entry of the listing. A document without id, link and field name gets a number.

    Only such documents are counted, so that another document in the case changes no number.
    """
    listed = found.listed
    own_instance = instance_of(listed) if found.is_inherited else ""
    href = raw_text_at(listed, "hrefBinario") or other_href(listed, process_number)
    path = trusted_href(href, process_number)
    arquivo = dict_at(listed, "arquivo")
    own_id = _plain(raw_text_at(listed, "idOrigem"))
    document = ListedDocument(
        instance=_plain(own_instance or found.instance),
        origin_id=own_id or (link_id(path) if path else _plain(found.key) or f"#{next(numbers)}"),
        name=clean(raw_text_at(listed, "nome")),
        kind=text_at(dict_at(listed, "tipo"), "nome") or text_at(listed, "tipo"),
        sequence=count_at(listed, "sequencia") or 0,
        filed_local_time=filed_local_time(listed.get("dataHoraJuntada"), court_of(process_number)),
        secrecy_level=clean(raw_text_at(listed, "nivelSigilo"), cap=100),
        hrefs=(path,) if path else (),
        listed_size_bytes=size_at(arquivo, "tamanho"),
        listed_content_type=mime_at(arquivo, "tipo"),
        refused_reason=None if path else "UNTRUSTED_LINK" if href else "NO_LINK",
    )
    return ListedEntry(
        document,
        found.place,
        has_file_facts=bool(arquivo),
        has_own_id=bool(own_id),
        is_inherited=found.is_inherited,
    )


def _plain(text: str) -> str:
    """Return `text` if `clean` does not change it, else its hash: two ids must stay different."""
    if not text.strip():
        return ""
    if text == clean(text, cap=_PLAIN_CAP) and not text.startswith(_OWN_PREFIXES):
        return text
    return "~" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
