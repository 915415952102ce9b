"""The data of a case in the portal's answer: class, subjects, parties, movements. Pure.

Courts leave fields out, fill them with null or give them another type. Such a field leaves its own
part empty, never the rest. The names are those that public clients of the portal read.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from actors.case_file.filed_times import filed_local_time
from actors.case_file.proceedings import instance_of
from actors.contents.json_fields import clean, dict_at, raw_text_at, text_at
from storage.portal.slots import court_of

Json = dict[str, Any]

# How many entries of a list are kept. A real case has far fewer.
MOST_SUBJECTS, MOST_PARTIES, MOST_MOVEMENTS = 200, 5_000, 20_000
_DESCRIPTION_CAP = 2_000
_INT64 = 2**63


def case_data(cases: list[Json], process_number: str) -> Json:
    """Return the court's short name and the proceedings, the present one first.

    `cases` are the objects of the answer that are about the case, `process_number` its punctuated
    form. The result is JSON: `court` and `proceedings`, with the fields of the contract's message
    `Proceeding` under the same names.
    """
    proceedings: dict[str, Json] = {}
    for each in proceedings_of(cases):
        data = _proceeding(each, court_of(process_number))
        instance = data["instance"]
        known = proceedings.get(instance)
        proceedings[instance] = data if known is None else _merged(known, data)
    return {"court": _court(cases), "proceedings": [*map(_limited, proceedings.values())]}


def _merged(known: Json, other: Json) -> Json:
    """Merge two entries of one instance: `tramitacoes` repeats the entry of `tramitacaoAtual`."""
    return {
        name: _united(value, other[name]) if isinstance(value, list) else value or other[name]
        for name, value in known.items()
    }


def _united(known: list[Json], others: list[Json]) -> list[Json]:
    seen = {repr(each) for each in known}
    return [*known, *(each for each in others if repr(each) not in seen)]


def _limited(data: Json) -> Json:
    # Stable: movements of one moment keep the court's order, movements without a time go last.
    movements = sorted(data["movements"], key=lambda each: str(each["local_time"]), reverse=True)
    return {
        **data,
        "subjects": data["subjects"][:MOST_SUBJECTS],
        "parties": data["parties"][:MOST_PARTIES],
        "movements": movements[:MOST_MOVEMENTS],
    }


def proceedings_of(cases: list[Json]) -> Iterator[Json]:
    """Yield the proceedings of each case: the present one first, then the others."""
    for case in cases:
        yield from _objects(case.get("tramitacaoAtual"))
        yield from _objects(case.get("tramitacoes"))


def _objects(value: object) -> Iterator[Json]:
    """Yield the objects in a value that is an object, a list of objects or something else."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            yield each


def _court(cases: list[Json]) -> str:
    for case in cases:
        for place in (case, *proceedings_of([case])):
            name = text_at(place, "siglaTribunal") or text_at(dict_at(place, "tribunal"), "sigla")
            if name:
                return name
    return ""


def _proceeding(each: Json, court: str) -> Json:
    return {
        "instance": clean(instance_of(each)),
        "case_class": next(_terms(each, "classe"), None),
        "subjects": list(_terms(each, "assunto")),
        "value": _value(each),
        "unit": _unit(each),
        "filed_local_time": filed_local_time(each.get("dataHoraAjuizamento"), court),
        "parties": [_party(party) for party in _objects(each.get("partes"))],
        "movements": _movements(each, court),
    }


def _terms(each: Json, key: str) -> Iterator[Json]:
    """Yield the entries of the CNJ's tables at `key`: objects, or plain names."""
    found = each.get(key)
    for term in found if isinstance(found, list) else [found]:
        name = text_at(term, "descricao") or text_at(term, "nome")
        if isinstance(term, str):
            name = text_at({"name": term}, "name")
        code = _code(term, "codigo")
        if name or code:
            yield {"code": code, "name": name}


def _code(value: object, key: str) -> int:
    text = raw_text_at(value, key).strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) < _INT64 else 0


def _value(each: Json) -> str:
    value = each.get("valorAcao")
    if isinstance(value, float):
        return str(value) if isfinite(value) else ""
    return raw_text_at(each, "valorAcao") if isinstance(value, int) else text_at(each, "valorAcao")


def _unit(each: Json) -> str:
    """Return the court unit: that of the proceeding, else that of its newest distribution."""
    places = [each, *reversed(list(_objects(each.get("distribuicao"))))]
    for place in places:
        for unit in _objects(place.get("orgaoJulgador")):
            if name := text_at(unit, "nome"):
                return name
        if name := text_at(place, "orgaoJulgador"):
            return name
    return ""


def _party(party: Json) -> Json:
    return {
        "side": text_at(party, "polo", cap=100),
        "name": text_at(party, "nome"),
        "kind": text_at(party, "tipoPessoa", cap=100),
        "representatives": [
            name
            for each in _objects(party.get("representantes"))
            if (name := text_at(each, "nome"))
        ],
    }


def _movements(each: Json, court: str) -> list[Json]:
    """Return the movements in the court's order; without a list, the newest one if it is there."""
    found = list(_objects(each.get("movimentos"))) or list(_objects(each.get("ultimoMovimento")))
    return [_movement(movement, court) for movement in found]


def _movement(movement: Json, court: str) -> Json:
    kinds = [*_objects(movement.get("tipo")), *_objects(movement.get("tipoMovimento"))]
    names = (text_at(kind, "descricao") or text_at(kind, "nome") for kind in kinds)
    return {
        "local_time": filed_local_time(movement.get("dataHora"), court),
        "description": text_at(movement, "descricao", cap=_DESCRIPTION_CAP)
        or next(filter(None, names), ""),
        "code": _code(movement, "codigo") or next((_code(kind, "codigo") for kind in kinds), 0),
    }
