"""The data of a case: what courts leave out or give in another type empties its part only."""

from __future__ import annotations

from typing import Any

import pytest

from actors.case_file.case_data import case_data

NUMBER = "1003579-22.2025.8.26.0564"
PRESENT = {
    "grau": {"sigla": "G1"},
    "classe": [{"codigo": 7, "descricao": "Procedimento Comum Cível"}],
    "assunto": [
        {"codigo": 6226, "descricao": "Inclusão Indevida", "hierarquia": "x"},
        {"codigo": "7780", "descricao": "Indenização por Dano Moral"},
    ],
    "valorAcao": 20000.5,
    "dataHoraAjuizamento": "2025-02-11T09:12:33.000",
    "orgaoJulgador": {"id": 12, "nome": "3ª Vara Cível"},
    "partes": [
        {
            "polo": "ATIVO",
            "nome": "Autora",
            "tipoPessoa": "FISICA",
            "representantes": [{"nome": "Advogada", "tipoRepresentacao": "ADVOGADO"}, {"nome": ""}],
        },
        {"polo": "PASSIVO", "tipoPessoa": "JURIDICA"},
    ],
    "movimentos": [
        {
            "sequencia": 1,
            "dataHora": "2025-02-11T09:12:33",
            "descricao": "Distribuído",
            "codigo": 26,
        },
        {"dataHora": "2025-03-01T10:00:00", "tipo": {"codigo": 85, "nome": "Petição"}},
        {"descricao": "Sem data"},
    ],
}
EMPTY: dict[str, Any] = {
    "instance": "",
    "case_class": None,
    "subjects": [],
    "value": "",
    "unit": "",
    "filed_local_time": "",
    "parties": [],
    "movements": [],
}


def _one(**present: Any) -> dict[str, Any]:
    [proceeding] = case_data([{"tramitacaoAtual": present}], NUMBER)["proceedings"]
    return dict(proceeding)


def test_every_field_is_read() -> None:
    assert _one(**PRESENT) == {
        "instance": "G1",
        "case_class": {"code": 7, "name": "Procedimento Comum Cível"},
        "subjects": [
            {"code": 6226, "name": "Inclusão Indevida"},
            {"code": 7780, "name": "Indenização por Dano Moral"},
        ],
        "value": "20000.5",
        "unit": "3ª Vara Cível",
        "filed_local_time": "2025-02-11T09:12:33.000",
        "parties": [
            {"side": "ATIVO", "name": "Autora", "kind": "FISICA", "representatives": ["Advogada"]},
            {"side": "PASSIVO", "name": "", "kind": "JURIDICA", "representatives": []},
        ],
        "movements": [
            {"local_time": "2025-03-01T10:00:00", "description": "Petição", "code": 85},
            {"local_time": "2025-02-11T09:12:33", "description": "Distribuído", "code": 26},
            {"local_time": "", "description": "Sem data", "code": 0},
        ],
    }


@pytest.mark.parametrize("wrong", [None, 5, "text", [], {}, [None], [7, "x"], True, 1e400])
@pytest.mark.parametrize("field", PRESENT)
def test_a_field_of_another_type_empties_its_part_only(field: str, wrong: object) -> None:
    whole, broken = _one(**PRESENT), _one(**{**PRESENT, field: wrong})
    names = {"grau": "instance", "classe": "case_class", "assunto": "subjects", "partes": "parties"}
    names |= {"valorAcao": "value", "orgaoJulgador": "unit", "movimentos": "movements"}
    names |= {"dataHoraAjuizamento": "filed_local_time"}

    touched = names[field]
    assert {k: v for k, v in broken.items() if k != touched} == {
        k: v for k, v in whole.items() if k != touched
    }


@pytest.mark.parametrize("value", [None, [], {}, "G1", 3])
def test_without_proceedings_there_are_none(value: object) -> None:
    found = case_data([{"tramitacaoAtual": None, "tramitacoes": value}], NUMBER)["proceedings"]

    assert found in ([], [EMPTY])


def test_the_present_proceeding_comes_first_and_once() -> None:
    second = {"grau": {"sigla": "G2"}, "movimentos": [{"descricao": "Recebido"}]}
    again = {**PRESENT, "movimentos": [*PRESENT["movimentos"][:1], {"descricao": "Outro"}]}  # type: ignore[index]
    found = case_data(
        [{"siglaTribunal": "TJSP", "tramitacaoAtual": PRESENT, "tramitacoes": [second, again]}],
        NUMBER,
    )

    assert found["court"] == "TJSP"
    assert [each["instance"] for each in found["proceedings"]] == ["G1", "G2"]
    descriptions = [each["description"] for each in found["proceedings"][0]["movements"]]
    assert descriptions == ["Petição", "Distribuído", "Sem data", "Outro"]


def test_the_unit_may_stand_in_the_newest_distribution() -> None:
    distributions = [
        {"orgaoJulgador": [{"nome": "1ª Vara"}]},
        {"orgaoJulgador": [{"nome": "2ª Vara"}]},
    ]

    assert _one(distribuicao=distributions)["unit"] == "2ª Vara"
    assert _one(orgaoJulgador="Plain name", distribuicao=distributions)["unit"] == "Plain name"


def test_the_newest_movement_may_stand_alone() -> None:
    alone = {"dataHora": "2025-04-01T00:00:00", "descricao": "Concluso", "codigo": 51}

    [movement] = _one(ultimoMovimento=alone)["movements"]

    assert movement == {"local_time": "2025-04-01T00:00:00", "description": "Concluso", "code": 51}


def test_times_of_any_form_are_read() -> None:
    parts = [2025, 4, 1, 9, 30]
    found = _one(dataHoraAjuizamento=parts, movimentos=[{"dataHora": parts}])
    assert found["filed_local_time"] == "2025-04-01T09:30:00"
    assert found["movements"][0]["local_time"] == "2025-04-01T09:30:00"
