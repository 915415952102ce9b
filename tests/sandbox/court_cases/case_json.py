"""The JSON of a case, in the shapes of docs/reference/portal.md."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.sandbox.court_cases.case_model import Branch, SandboxCase, SandboxDocument, document
from tests.sandbox.court_cases.cnj import digits

HREF_FAULTS = ("foreign-href", "other-case-href", "query-href", "no-href")

_COURTS = {"811": "TJMT", "826": "TJSP"}
_TYPES = (
    (550, "Sentença", 121351, "62"),
    (60, "Petição", 120044, "15"),
    (581, "Documento de Comprovação", 121402, "71"),
    (15, "Despacho", 119873, "9"),
)
_GRADES = {
    "G1": ("PRIMEIRO_GRAU", {"sigla": "G1", "nome": "1º Grau", "numero": 1}),
    "G2": ("SEGUNDO_GRAU", {"sigla": "G2", "nome": "2º Grau", "numero": 2}),
}
# The fields that public clients of the portal read.
_DATA: dict[str, Any] = {
    "classe": [{"codigo": 7, "descricao": "Procedimento Comum Cível"}],
    "assunto": [{"codigo": 7780, "descricao": "Indenização por Dano Moral"}],
    "valorAcao": 20000.0,
    "dataHoraAjuizamento": "2025-02-11T09:12:33.000",
    "distribuicao": [{"orgaoJulgador": [{"id": 12, "nome": "3ª Vara Cível"}]}],
    "partes": [
        {
            "polo": "ATIVO",
            "nome": "Autora de Exemplo",
            "tipoPessoa": "FISICA",
            "representantes": [{"nome": "Advogado de Exemplo"}],
        },
        {"polo": "PASSIVO", "nome": "Empresa de Exemplo", "tipoPessoa": "JURIDICA"},
    ],
    "movimentos": [
        {"dataHora": "2025-02-11T09:12:33.000", "descricao": "Distribuição", "codigo": 26},
        {"dataHora": "2025-06-02T12:53:54.976", "descricao": "Juntada de Petição", "codigo": 85},
    ],
}
_FIRST_FILED = datetime(2025, 6, 2, 12, 53, 54, 976_541)
_OTHER_NUMBER = "1011745-77.2025.8.11.0041"


def listing(case: SandboxCase, *, foreign_origin: str, earlier: int = 0) -> Any:
    """Return the portal's answer for the case after `earlier` listings of it.

    `foreign_origin` goes into foreign hrefs.
    """
    if case.form == "unknown":
        return []
    if case.form == "unknown-content":
        return {"content": []}
    current = case.current
    if earlier in case.incomplete_listings:
        current = Branch(current.documents[:-1], current.grade)
    body: dict[str, Any] = {
        "nivelSigilo": case.secrecy,
        "siglaTribunal": _COURTS.get(digits(case.number)[13:16], "TJSP"),
        "numeroProcesso": case.number,
        "tramitacaoAtual": _branch(case, current, foreign_origin),
    }
    if case.others is not None:
        body["tramitacoes"] = [
            {"idCodex": 9_120_000_000 + place} | _branch(case, branch, foreign_origin)
            for place, branch in enumerate(case.others)
        ]
    return body if case.form == "object" else [body]


def _branch(case: SandboxCase, branch: Branch, foreign_origin: str) -> dict[str, Any]:
    instance, grade = _GRADES[branch.grade]
    body: dict[str, Any] = {"instancia": instance, "grau": grade, **_DATA}
    body["movimentos"] = [*body["movimentos"], *case.movements]
    if branch.form == "null":
        body["documentos"] = None
    elif branch.form == "list":
        body["documentos"] = [_document(case, each, foreign_origin) for each in branch.documents]
    return body


def _document(case: SandboxCase, each: SandboxDocument, foreign_origin: str) -> dict[str, Any]:
    code, kind, id_codex, id_origem = _TYPES[each.position % len(_TYPES)]
    type_: dict[str, Any] = {"nome": kind, "idCodex": id_codex, "idOrigem": id_origem}
    if each.position % 3 == 0:
        type_ = {"codigo": code} | type_
    href = f"/processos/{case.number}/documentos/{each.uuid}"
    body: dict[str, Any] = {
        "sequencia": 1 + each.position + each.position // 4,
        "dataHoraJuntada": _filed_at(each.position),
        "idCodex": 25_537_272_775 + each.position,
        "idOrigem": each.id_origem,
        "nome": each.name,
        "tipo": type_,
        "hrefTexto": f"{href}/texto",
    }
    if each.secrecy is not None:
        body["nivelSigilo"] = each.secrecy
    if each.fault != "no-href":
        body["hrefBinario"] = _href(each, f"{href}/binario", foreign_origin)
    if each.has_arquivo:
        body["arquivo"] = {
            "tipo": each.media_type,
            "quantidadePaginas": 0,
            "quantidadeImagens": 0,
            "tamanho": each.size_bytes,
            "tamanhoTexto": each.size_bytes // 13,
        }
    return body


def _href(each: SandboxDocument, href: str, foreign_origin: str) -> str:
    if each.fault == "foreign-href":
        return f"{foreign_origin}/api/v2{href}"
    if each.fault == "query-href":
        return f"{href}?destino=outro"
    if each.fault == "other-case-href":
        # The document exists, so that a client which follows the link stores a wrong one.
        other = document(_OTHER_NUMBER, 0)
        return f"/processos/{_OTHER_NUMBER}/documentos/{other.uuid}/binario"
    return href


def _filed_at(position: int) -> str:
    """Return local time without offset, with zero to six decimals in turn."""
    moment = _FIRST_FILED + timedelta(hours=7 * position)
    decimals = position % 7
    text = moment.isoformat(timespec="microseconds")
    return text[: 20 + decimals] if decimals else text[:19]
