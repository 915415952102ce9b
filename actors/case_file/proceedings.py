"""The proceedings of a case in the portal's answer, and what stands in their place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actors.case_file.case_limits import MOST_ENTRIES
from actors.case_file.pages import is_page_of_more, size_of
from actors.contents.json_fields import dict_at, raw_text_at

# A proceeding has one of these.
_MARKS = (
    *("grau", "instancia", "idCodex", "documentos", "classe", "assunto", "partes", "movimentos"),
    *("ultimoMovimento", "distribuicao", "orgaoJulgador", "dataHoraAjuizamento", "valorAcao"),
)
_INSTANCES = {"PRIMEIRO_GRAU": "G1", "SEGUNDO_GRAU": "G2"}


def instance_of(proceeding: dict[str, Any]) -> str:
    """Return the instance that an object names, such as G1; else G and its number; else ""."""
    if "grau" not in proceeding and "instancia" not in proceeding:
        return ""
    grade = dict_at(proceeding, "grau")
    sigla = raw_text_at(grade, "sigla").strip() or raw_text_at(proceeding, "grau").strip()
    named = raw_text_at(proceeding, "instancia").strip()
    number = raw_text_at(grade, "numero").strip()
    return sigla or _INSTANCES.get(named, named) or (f"G{number}" if number else "")


def messages_in(values: Iterable[Any]) -> int:
    """Return how many values of the known lists are texts, numbers or errors, not proceedings."""
    parts = (part for each in values for part in (each if isinstance(each, list) else [each]))
    return sum(map(_is_message, parts))


def is_page_of_proceedings(value: object) -> bool:
    """Return whether an object with proceedings states that there are more of them."""
    if not isinstance(value, dict) or _is_proceeding(value):
        return False
    return is_page_of_more(value, size_of(value) or MOST_ENTRIES)


def _is_message(part: object) -> bool:
    return bool(part) and not isinstance(part, list) and not _has_proceeding(part)


def _has_proceeding(part: object) -> bool:
    left = [part]
    while left:
        each = left.pop()
        if _is_proceeding(each):
            return True
        left += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return False


def _is_proceeding(value: object) -> bool:
    return isinstance(value, dict) and any(mark in value for mark in _MARKS)
