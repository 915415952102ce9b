"""What the portal says about a case, made into a listing. Pure; the shapes are in PDPJ.md."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from actors.json_fields import (
    clean,
    dict_at,
    dicts_at,
    int_at,
    mime_at,
    raw_text_at,
    size_at,
    text_at,
)
from actors.links import trusted_href
from storage.errors import TransientError
from storage.listing import CaseListing, ListedDocument
from storage.process_number import digits

_CASE_FIELDS = ("numeroProcesso", "tramitacaoAtual", "tramitacoes", "nivelSigilo", "siglaTribunal")
_INSTANCES = {"PRIMEIRO_GRAU": "G1", "SEGUNDO_GRAU": "G2"}
_SECRECY_LEVELS = (
    "",
    "PUBLICO",
    "SEGREDO_JUSTICA",
    "SIGILO_MINIMO",
    "SIGILO_MEDIO",
    "SIGILO_INTENSO",
    "SIGILO_ABSOLUTO",
)
_OWN_PREFIXES = ("#", "~", "uuid:")
_PLAIN_CAP = 200
_LOCAL_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One document as it stands in one tramitação."""

    document: ListedDocument
    has_file_facts: bool


def parse_case(body: object, process_number: str) -> CaseListing | None:
    """The listing in the portal's answer; None when the portal does not know the case.

    `body` is decoded JSON, `process_number` the punctuated form. Raises TransientError
    PORTAL_ERROR when the answer is about no case, or about another one.
    """
    cases = _cases(body)
    if not cases:
        return None
    cases = [case for case in cases if _is_case(case, process_number)]
    if not cases:
        raise TransientError("PORTAL_ERROR", "The portal's answer is not this case.", is_few=True)
    documents: dict[tuple[str, str], _Entry] = {}
    for entry in _entries(cases, process_number):
        key = (entry.document.instance, entry.document.origin_id)
        twin = documents.get(key)
        documents[key] = _joined(twin, entry) if twin else entry
    found = [entry.document for entry in documents.values()]
    return CaseListing(_case_secrecy(cases), _in_order(found))


def _in_order(documents: list[ListedDocument]) -> tuple[ListedDocument, ...]:
    """Instance by instance as they come, in each by the court's own sequence.

    Nothing says that the portal's arrays are sorted; where the sequence is equal they decide.
    """
    instances = list(dict.fromkeys(document.instance for document in documents))
    places = {instance: place for place, instance in enumerate(instances)}
    return tuple(sorted(documents, key=lambda d: (places[d.instance], d.sequence)))


def _cases(body: object) -> list[object]:
    if isinstance(body, dict) and not any(field in body for field in _CASE_FIELDS):
        content = body.get("content")
        return content if isinstance(content, list) else [body]
    return body if isinstance(body, list) else [body]


def _is_case(case: object, process_number: str) -> bool:
    if not isinstance(case, dict) or not any(field in case for field in _CASE_FIELDS):
        return False
    number = digits(text_at(case, "numeroProcesso"))
    return number in ("", digits(process_number))


def _case_secrecy(cases: list[object]) -> int | None:
    levels = [int_at(case, "nivelSigilo") for case in cases]
    known = [level for level in levels if level is not None]
    return max(known) if len(known) == len(levels) else None


def _entries(cases: list[object], process_number: str) -> Iterator[_Entry]:
    """Every document of both lists; those that nothing identifies are numbered."""
    count = 0
    for case in cases:
        for proceeding in (dict_at(case, "tramitacaoAtual"), *dicts_at(case, "tramitacoes")):
            instance = _instance(proceeding)
            for listed in dicts_at(proceeding, "documentos"):
                count += 1
                yield _entry(listed, instance, process_number, f"#{count}")


def _entry(listed: dict[str, Any], instance: str, process_number: str, fallback_id: str) -> _Entry:
    href = raw_text_at(listed, "hrefBinario")
    path = trusted_href(href, process_number)
    arquivo = dict_at(listed, "arquivo")
    return _Entry(
        ListedDocument(
            instance=instance,
            origin_id=_plain(raw_text_at(listed, "idOrigem")) or _uuid_id(path) or fallback_id,
            name=text_at(listed, "nome"),
            kind=text_at(dict_at(listed, "tipo"), "nome"),
            sequence=int_at(listed, "sequencia") or 0,
            filed_local_time=_local_time(raw_text_at(listed, "dataHoraJuntada")),
            secrecy_level=text_at(listed, "nivelSigilo", cap=100),
            hrefs=(path,) if path else (),
            listed_size_bytes=size_at(arquivo, "tamanho"),
            listed_content_type=mime_at(arquivo, "tipo"),
            refused_reason=None if path else "UNTRUSTED_LINK" if href else "NO_LINK",
        ),
        has_file_facts=bool(arquivo),
    )


def _instance(proceeding: dict[str, Any]) -> str:
    sigla = _plain(raw_text_at(dict_at(proceeding, "grau"), "sigla").strip())
    named = raw_text_at(proceeding, "instancia").strip()
    return sigla or _INSTANCES.get(named) or _plain(named)


def _plain(text: str) -> str:
    """`text` if it can be kept as it is, else its hash: cleaning might make one of two."""
    if not text.strip():
        return ""
    if text == clean(text, cap=_PLAIN_CAP) and not text.startswith(_OWN_PREFIXES):
        return text
    return "~" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _uuid_id(path: str | None) -> str:
    # The prefix keeps it apart from every idOrigem.
    return f"uuid:{path.split('/')[-2]}" if path else ""


def _local_time(text: str) -> str:
    if not _LOCAL_TIME.fullmatch(text):
        return ""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text


def _joined(first: _Entry, second: _Entry) -> _Entry:
    """The document of two twins: the one with `arquivo` counts, the other fills its gaps."""
    is_second_better = second.has_file_facts and not first.has_file_facts
    better, other = (second, first) if is_second_better else (first, second)
    kept, spare = better.document, other.document
    hrefs = tuple(dict.fromkeys((*kept.hrefs, *spare.hrefs)))
    reasons = {kept.refused_reason, spare.refused_reason}
    refused = "UNTRUSTED_LINK" if "UNTRUSTED_LINK" in reasons else "NO_LINK"
    document = replace(
        kept,
        name=kept.name or spare.name,
        kind=kept.kind or spare.kind,
        sequence=kept.sequence or spare.sequence,
        filed_local_time=kept.filed_local_time or spare.filed_local_time,
        secrecy_level=max(kept.secrecy_level, spare.secrecy_level, key=_secrecy),
        hrefs=hrefs,
        listed_size_bytes=kept.listed_size_bytes or spare.listed_size_bytes,
        listed_content_type=kept.listed_content_type or spare.listed_content_type,
        refused_reason=None if hrefs else refused,
    )
    return _Entry(document, better.has_file_facts)


def _secrecy(level: str) -> int:
    """How secret a level is; a name that we do not know is the most secret."""
    is_known = level in _SECRECY_LEVELS
    return _SECRECY_LEVELS.index(level) if is_known else len(_SECRECY_LEVELS)
