"""Test the case file: no document is lost or merged wrongly, and no input breaks parsing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.case_file.case_file import parse_case
from actors.case_file.case_limits import MOST_ENTRIES, ListingTooLarge
from storage.errors import TransientError
from storage.listings.listed_case import CaseListing, ListedDocument, document_id
from storage.process_number import digits

NUMBER = "1011745-77.2025.8.11.0041"
OTHER = "1003579-22.2025.8.26.0564"
G1 = {"sigla": "G1", "nome": "1º Grau", "numero": 1}
G2 = {"sigla": "G2", "nome": "2º Grau", "numero": 2}


def _uuid(place: int) -> str:
    return f"00000000-0000-4000-8000-{place:012d}"


def _path(place: int) -> str:
    return f"/processos/{NUMBER}/documentos/{_uuid(place)}/binario"


def _document(place: int, **fields: Any) -> dict[str, Any]:
    standing = {
        "sequencia": place,
        "dataHoraJuntada": "2025-06-02T12:53:54.976",
        "idOrigem": str(366_442_000 + place),
        "nome": f"Documento {place}.pdf",
        "nivelSigilo": "PUBLICO",
        "tipo": {"codigo": 550, "nome": "Sentença"},
        "hrefBinario": _path(place),
        "arquivo": {"tipo": "application/pdf", "tamanho": 1000 + place},
    } | fields
    return {key: value for key, value in standing.items() if value is not ...}


def _case(current: Any = (), *others: Any, **fields: Any) -> dict[str, Any]:
    return {
        "nivelSigilo": 0,
        "numeroProcesso": NUMBER,
        "tramitacaoAtual": {"grau": G1, "documentos": list(current)},
        "tramitacoes": [{"grau": grade, "documentos": documents} for grade, documents in others],
    } | fields


def _listing(body: object) -> CaseListing:
    listing = parse_case(body, NUMBER)
    assert listing is not None
    return listing


def _only(document: object) -> ListedDocument:
    (listed,) = _listing([_case([document])]).documents
    return listed


def test_every_field_is_read() -> None:
    assert _only(_document(29)) == ListedDocument(
        instance="G1",
        origin_id="366442029",
        name="Documento 29.pdf",
        kind="Sentença",
        sequence=29,
        filed_local_time="2025-06-02T12:53:54.976",
        secrecy_level="PUBLICO",
        hrefs=(_path(29),),
        listed_size_bytes=1029,
        listed_content_type="application/pdf",
        refused_reason=None,
    )


@pytest.mark.parametrize("wrap", [lambda c: [c], lambda c: c, lambda c: {"content": [c]}])
def test_the_case_may_come_in_an_array_bare_or_as_content(wrap: Any) -> None:
    listing = _listing(wrap(_case([_document(1)], nivelSigilo=3)))
    assert listing.secrecy_level == 3
    assert len(listing.documents) == 1


@pytest.mark.parametrize(("case", "proceeding", "level"), [(0, 5, 5), (3, 0, 3), (..., 5, None)])
def test_a_case_is_as_secret_as_its_most_secret_proceeding(
    case: object, proceeding: int, level: int | None
) -> None:
    body = _case([_document(1)], nivelSigilo=case)
    body["tramitacoes"] = [{"grau": G2, "nivelSigilo": proceeding, "documentos": []}]
    fields = {key: value for key, value in body.items() if value is not ...}
    assert _listing(fields).secrecy_level == level


@pytest.mark.parametrize("body", [[], {"content": []}])
def test_an_empty_answer_is_an_unknown_case(body: object) -> None:
    assert parse_case(body, NUMBER) is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        "x",
        7,
        {},
        [{}],
        [[]],
        [None],
        {"content": None},
        {"content": {}},
        {"codigo": "PDPJ-102", "mensagem": "Binário em preparação"},
        [{"numeroProcesso": OTHER, "tramitacaoAtual": {}}],
    ],
)
def test_an_answer_that_is_not_this_case_is_a_transient_error(body: object) -> None:
    with pytest.raises(TransientError) as caught:
        parse_case(body, NUMBER)
    assert caught.value.reason == "PORTAL_ERROR"
    assert caught.value.is_few


@pytest.mark.parametrize("number", [digits(NUMBER), "", None, 5])
def test_the_number_in_the_answer_may_be_plain_or_absent(number: object) -> None:
    assert len(_listing(_case([_document(1)], numeroProcesso=number)).documents) == 1


def test_a_number_of_another_case_may_be_a_number() -> None:
    plain = int(digits(NUMBER))
    assert len(_listing(_case([_document(1)], numeroProcesso=plain)).documents) == 1
    assert _is_unreadable(NOTHING | {"numeroProcesso": int(digits(OTHER))})


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_a_known_list_that_is_empty_or_null_has_no_documents(nothing: object) -> None:
    lists = {"documentos": nothing}
    for body in (
        {"tramitacaoAtual": lists},
        {"tramitacaoAtual": lists, "tramitacoes": None},
        {"tramitacaoAtual": lists, "tramitacoes": [{}, lists]},
        {"tramitacaoAtual": None, "tramitacoes": [lists]},
        {"tramitacaoAtual": lists, "documentos": None},
    ):
        assert _listing(body | {"numeroProcesso": NUMBER}).documents == ()


def _is_unreadable(body: object) -> bool:
    with pytest.raises(TransientError) as caught:
        parse_case(body, NUMBER)
    return (caught.value.reason, caught.value.is_few) == ("PORTAL_ERROR", True)


NOTHING = {"numeroProcesso": NUMBER, "tramitacaoAtual": {"documentos": []}}


@pytest.mark.parametrize(
    "body",
    [
        {"numeroProcesso": NUMBER},
        {"numeroProcesso": NUMBER, "status": 500, "mensagem": "Erro interno"},
        {"numeroProcesso": NUMBER, "tramitacaoAtual": None, "tramitacoes": []},
        {"numeroProcesso": NUMBER, "tramitacaoAtual": {}, "tramitacoes": [{}]},
        {"numeroProcesso": NUMBER, "documentos": []},
        NOTHING | {"tramitacaoAtual": {"documentos": "x"}},
        NOTHING | {"tramitacaoAtual": {"documentos": 3}},
        NOTHING | {"tramitacaoAtual": {"documentos": [None, 1, "x", []]}},
        NOTHING | {"tramitacaoAtual": {"documentos": {"a": 1}}},
        NOTHING | {"tramitacoes": "x"},
        NOTHING | {"tramitacoes": [1]},
        NOTHING | {"tramitacoes": {"1": "x"}},
        NOTHING | {"documentos": ["x"]},
        NOTHING | {"dadosBasicos": {"documentos": "x"}},
        NOTHING | {"movimentos": [{"documentos": [{"id": 7}]}]},
        NOTHING | {"tramitacoes": [{"documentos": [_document(1)]}, {"documentos": "x"}]},
    ],
)
def test_what_cannot_be_read_is_not_nothing(body: object) -> None:
    assert _is_unreadable([body])


@pytest.mark.parametrize(
    "extra",
    [
        {"last": False},
        {"totalElements": 3},
        {"totalElements": "3"},
        {"totalPages": 2},
        {"hasNext": True},
        {"total": 3},
        {"next": "/processos?page=2"},
        {"page": {"totalElements": 3, "totalPages": 2}},
        {"total_pages": 2},
        {"totalDePaginas": 2},
        {"quantidadeTotal": 3},
        {"totalDocumentos": 3},
        {"has_more": True},
        {"temMais": True},
        {"nextPage": 2},
        {"next_cursor": "x"},
        {"links": {"next": "/processos?page=2"}},
        {"_links": {"next": {"href": "/processos?page=2"}}},
        {"pageInfo": {"hasNextPage": True}},
    ],
)
def test_a_page_of_more_documents_is_not_all_of_them(extra: dict[str, Any]) -> None:
    whole = {"content": [_document(1), _document(2)], "last": True, "totalElements": 2}
    assert len(_listing({"tramitacaoAtual": {"documentos": whole}}).documents) == 2
    assert _is_unreadable({"tramitacaoAtual": {"documentos": whole | extra}})
    assert _is_unreadable({"content": [_case([_document(1), _document(2)])]} | extra)


def test_a_page_of_documents_by_id_is_not_all_of_them() -> None:
    assert _is_unreadable({"tramitacaoAtual": {"documentos": BY_ID | {"totalElements": 3}}})


@pytest.mark.parametrize(
    "extra",
    [{"totalPages": 2}, {"page": {"total_pages": "2"}}, {"hasNext": True}, {"totalElements": 3}],
)
def test_a_page_may_be_stated_beside_its_list(extra: dict[str, Any]) -> None:
    documents = [_document(1), _document(2)]
    assert _is_unreadable({"tramitacaoAtual": {"documentos": documents} | extra})
    assert _is_unreadable(_case()["tramitacaoAtual"] | {"documentos": documents} | extra)


def test_what_only_looks_like_a_page_is_all() -> None:
    other = {"totalPages": 1, "quantidadePaginas": 80, "totalElements": 2, "ultima": False}
    documents = {"documentos": [_document(1), _document(2)]}
    words = {"possuiMaisDeUmaParte": True, "temProximaAudiencia": True}
    for proceeding in (
        documents | other,
        documents | words,
        documents | {"proximaAudiencia": {"total": 9}},
    ):
        assert len(_listing({"tramitacaoAtual": proceeding}).documents) == 2


@pytest.mark.parametrize("message", ["2o grau indisponivel", 503])
def test_a_message_in_place_of_a_proceeding_is_a_document_without_a_link(message: object) -> None:
    first = {"documentos": [_document(1)]}
    for case in (
        {"tramitacoes": [first, message]},
        {"tramitacaoAtual": first, "tramitacoes": message},
        {"tramitacaoAtual": message, "tramitacoes": [first]},
    ):
        reasons = [d.refused_reason for d in _listing(case).documents]
        assert sorted(map(str, reasons)) == ["NO_LINK", "None"]
    assert len(_listing({"tramitacoes": [first, None, {}]}).documents) == 1


@pytest.mark.parametrize(
    "error", [{"erro": "timeout", "status": 504}, {"error": {"code": 504, "message": "G2"}}]
)
def test_an_error_in_place_of_a_proceeding_is_a_document_without_a_link(error: object) -> None:
    first = {"grau": G1, "documentos": [_document(1)]}
    for case in (
        {"tramitacoes": [first, error]},
        {"tramitacaoAtual": first, "tramitacoes": error},
        {"tramitacaoAtual": error, "tramitacoes": [first]},
    ):
        reasons = [d.refused_reason for d in _listing(case).documents]
        assert sorted(map(str, reasons)) == ["NO_LINK", "None"]
    others: list[dict[str, Any]] = [{"grau": G2}, {"instancia": "SEGUNDO_GRAU"}, {"partes": []}]
    for other in others:
        for whole in ([other], {"9120": other}):
            body = {"tramitacaoAtual": first, "tramitacoes": whole}
            assert len(_listing(body).documents) == 1


def test_an_empty_page_with_a_message_is_no_unknown_case() -> None:
    assert (
        parse_case({"content": [], "totalElements": 0, "sort": {}, "error": None}, NUMBER) is None
    )
    assert _is_unreadable({"content": [], "erro": "timeout"})


@pytest.mark.parametrize("number", [[OTHER], {"numero": OTHER}, 1.0e19])
def test_an_empty_case_whose_number_cannot_be_read_is_not_nothing(number: object) -> None:
    assert _is_unreadable([NOTHING | {"numeroProcesso": number}])


@pytest.mark.parametrize("other", [None, "x", {"erro": "2o grau"}])
def test_a_part_that_cannot_be_read_beside_an_empty_case_is_not_nothing(other: object) -> None:
    assert _is_unreadable([NOTHING, other])
    assert _listing([NOTHING, {"numeroProcesso": OTHER, "erro": "x"}]).documents == ()


@pytest.mark.parametrize(
    "other",
    ["x", 503, {"erro": "2o grau"}, ["x"], {"numeroProcesso": NUMBER, "status": 500}],
)
def test_a_part_that_cannot_be_read_beside_a_case_is_a_document_without_a_link(
    other: object,
) -> None:
    for body in ([_case([_document(1)]), other], [other, _case([_document(1)])]):
        reasons = [d.refused_reason for d in _listing(body).documents]
        assert sorted(map(str, reasons)) == ["NO_LINK", "None"]


@pytest.mark.parametrize(
    "other", [None, "", {}, [], {"numeroProcesso": OTHER, "erro": "x"}, NOTHING]
)
def test_an_empty_part_beside_a_case_is_nothing(other: object) -> None:
    assert len(_listing([_case([_document(1)]), other]).documents) == 1


@pytest.mark.parametrize("other", [{"documentos": [_document(2)]}, [{"x": _document(2)}]])
def test_documents_may_stand_beside_their_case(other: object) -> None:
    documents = _listing([_case([_document(1)]), other]).documents
    assert {d.hrefs for d in documents} == {(_path(1),), (_path(2),)}


_LINKLESS = _document(2, hrefBinario=...)
_WEAK = {"idOrigem": "366442002", "nome": "x"}


@pytest.mark.parametrize(
    "case",
    [
        *(_case([_document(1)], **{key: [_LINKLESS]}) for key in ("anexos", "pecas", "Documentos")),
        *(
            _case([_document(1, **{key: [_LINKLESS]})])
            for key in ("anexos", "documentosVinculados")
        ),
        _case([_document(1)], anexos=[{"idOrigem": "366442002", "hrefTexto": "/x/texto"}]),
        # In places whose `documentos` would be the case's own.
        *(_case([_document(1)], **{key: [_LINKLESS]}) for key in ("processo", "content")),
        _case([_document(1)], movimentos=[{"documentos": [[_LINKLESS]]}]),
        _case([_document(1)], movimentos=[{"documento": {"arquivo": {"tamanho": 7}} | _WEAK}]),
        _case([_document(1, documentos=[_LINKLESS])]),
        _case([_document(1, documentos=[_WEAK])]),
        _case([_document(1, documentos={"a1": _WEAK})]),
        _case([_document(1, documentos=[_document(3, documentos=[_WEAK])])]),
    ],
)
def test_a_document_without_a_link_is_found_wherever_it_stands(case: dict[str, Any]) -> None:
    documents = _listing(case).documents
    linkless = [d for d in documents if not d.hrefs]
    assert [(d.origin_id, d.refused_reason) for d in linkless] == [("366442002", "NO_LINK")]
    assert len(documents) > 1


@pytest.mark.parametrize("unread", ["x", 3, ["x"], {"a": 1}, {"content": [], "totalElements": 2}])
def test_attachments_that_cannot_be_read_are_a_document_without_a_link(unread: object) -> None:
    documents = _listing(_case([_document(1, documentos=unread)])).documents
    assert sorted(str(d.refused_reason) for d in documents) == ["NO_LINK", "None"]


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_a_document_may_have_no_attachments(nothing: object) -> None:
    assert len(_listing(_case([_document(1, documentos=nothing)])).documents) == 1


def test_what_mentions_a_listed_document_is_none_itself() -> None:
    mentions = [
        _document(1, hrefBinario=...),
        {"idOrigem": "366442001", "dataHoraJuntada": "x", "nome": "y"},
        {"hrefTexto": _path(1).replace("binario", "texto")},
        {"nome": "Documento 1.pdf", "dataHoraJuntada": "2025-06-02T12:53:54.976"},
        {"dataHoraJuntada": "2025-06-02T12:53:54.976", "descricao": "Juntada"},
    ]
    body = _case([], (G2, [_document(1)]), movimentos=mentions)
    assert [d.instance for d in _listing(body).documents] == ["G2"]
    other = _document(1, hrefBinario=..., arquivo={"tamanho": 7})
    assert len(_listing(_case([_document(1)], anexos=[other])).documents) == 2


@pytest.mark.parametrize(
    "page",
    [
        {"content": [{"documento": _document(2)}], "totalPages": 3},
        {"items": [_document(2)], "hasNext": True},
        [{"documentos": {"content": [_document(2)], "last": False}}],
    ],
)
def test_a_page_of_what_holds_documents_lacks_documents(page: object) -> None:
    for listed in ([], [_document(1)]):
        documents = _listing(_case(listed, movimentos=page)).documents
        assert [d.refused_reason for d in documents].count("NO_LINK") == 1
        assert [d.hrefs for d in documents if d.hrefs][-1] == (_path(2),)
    for other in ({"content": [{"nome": "x"}], "totalPages": 3}, {"content": [], "total": 3}):
        assert len(_listing(_case([_document(1)], movimentos=other)).documents) == 1


def test_a_page_of_proceedings_is_not_all_of_them() -> None:
    whole = {"_embedded": {"tramitacoes": [{"documentos": [_document(1)]}]}}
    assert len(_listing({"tramitacoes": whole}).documents) == 1
    assert _is_unreadable({"tramitacoes": whole | {"_links": {"next": {"href": "x"}}}})
    page = {"content": [{"documentos": [_document(1)]}], "last": False}
    assert _is_unreadable({"tramitacoes": page})


@pytest.mark.parametrize("name", ["quantidadeDocumentos", "totalDeDocumentos", "qtd_documentos"])
def test_fewer_documents_than_the_answer_states_are_not_all(name: str) -> None:
    documents = _listing(_case([_document(1), _document(2)], **{name: "3"})).documents
    assert [d.refused_reason for d in documents].count("NO_LINK") == 1
    assert len(documents) == 3
    assert len(_listing(_case([_document(1), _document(2)], **{name: 2})).documents) == 2
    # A document that the answer mentions without a link is one of those.
    mention = {"idOrigem": "9", "nome": "x.pdf"}
    documents = _listing(_case([_document(1)], movimentos=[mention], **{name: 2})).documents
    assert [d.origin_id for d in documents if d.refused_reason] == ["9"]
    assert _is_unreadable(_case([], **{name: 3}))
    assert _listing(_case([], **{name: 0})).documents == ()


@pytest.mark.parametrize("key", ["hrefbinario", "url", "linkDocumento"])
def test_a_link_of_the_case_is_found_under_any_name(key: str) -> None:
    named = _document(1, hrefBinario=..., **{key: _path(1)})
    assert _only(named).hrefs == (_path(1),)
    documents = _listing(_case([_document(1)], movimentos=[{key: _path(2)}])).documents
    assert {d.hrefs for d in documents} == {(_path(1),), (_path(2),)}
    for other in (_path(2).replace(NUMBER, OTHER), f"x {_path(2)}"):
        assert len(_listing(_case([_document(1)], movimentos=[{key: other}])).documents) == 1


@pytest.mark.parametrize("reference", [{"id": 7}, 7, "7", {"idDocumento": "7", "nome": "x"}])
def test_a_reference_to_a_document_that_is_not_listed_is_one_without_a_link(
    reference: object,
) -> None:
    movements = [{"documentos": [reference]}, {"documentos": [{"id": 7}]}]
    for fields in ({"movimentos": movements}, {"x": {"documentos": [reference]}}):
        documents = _listing(_case([_document(1)], **fields)).documents
        assert [(d.origin_id, d.refused_reason) for d in documents] == [
            ("7", "NO_LINK"),
            ("366442001", None),
        ]


@pytest.mark.parametrize(
    "reference",
    [
        *({"id": "366442001"}, {"id": 366442001}, 366442001, {"idOrigem": "366442001"}),
        *(_uuid(1), {"uuid": _uuid(1)}),
        # Identity cards of parties.
        {"id": 7, "tipo": "CPF", "numero": "123.456.789-09"},
        {"codigoDocumento": "1", "emissorDocumento": "SSP", "tipoDocumento": "CI"},
        *("RG", {"tipo": "x"}, None, 2.5),
    ],
)
def test_what_refers_to_a_listed_document_or_to_none_is_no_document(reference: object) -> None:
    case = _case([_document(1)], partes=[{"documentos": [reference]}])
    assert len(_listing(case).documents) == 1


@pytest.mark.parametrize(
    "card",
    [
        {"id": 7, "tipo": "CPF", "valor": "123.456.789-09"},
        {"id": 7, "numeroDocumento": "1", "tipoDocumento": {"id": 1, "nome": "RG"}},
        {"idCodex": 7, "numero": None, "orgaoExpedidor": "SSP"},
        *("12345678909", 12345678909),
    ],
)
def test_the_identity_cards_of_a_person_are_no_documents(card: object) -> None:
    person = {"nome": "x", "documentos": [card]}
    for fields in (
        *({"partes": [person]}, {"partes": [{"pessoa": {"dados": person}}]}),
        *({"partes": [{"nome": "y", "representantes": [person]}]}, {"poloAtivo": person}),
        {"x": [person | {"tipoPessoa": "FISICA"}]},
    ):
        assert len(_listing(_case([_document(1)], **fields)).documents) == 1
        # A document with a link is one also there.
        linked = json.loads(json.dumps(fields).replace(json.dumps(card), json.dumps(_document(2))))
        assert len(_listing(_case([_document(1)], **linked)).documents) == 2


def test_an_attachment_with_an_id_and_the_name_of_a_file_is_a_document_without_a_link() -> None:
    attachment = {"id": 7, "nome": "Anexo.pdf"}
    documents = _listing(_case([_document(1, anexos=[attachment, attachment])])).documents
    assert [(d.name, d.refused_reason) for d in documents] == [
        ("Anexo.pdf", "NO_LINK"),
        ("Documento 1.pdf", None),
    ]
    for other in ({"id": 7, "nome": "Anexo"}, {"nome": "Anexo.pdf"}, {"idOrigem": "366442001"}):
        assert len(_listing(_case([_document(1, anexos=[other])])).documents) == 1


def test_documents_of_another_key_that_have_no_link_are_not_nothing() -> None:
    for key in ("documento", "anexos", "pecas"):
        assert _is_unreadable(_case(**{key: [_document(1, hrefBinario=...)]}))


def test_what_only_holds_documents_is_none_itself() -> None:
    held = [{"documento": _document(1)}, {"pecas": [_document(2)], "tipo": "x"}]
    documents = _listing(_case(held)).documents
    assert [d.hrefs for d in documents] == [(_path(1),), (_path(2),)]


def test_a_document_that_cannot_be_read_among_others_is_one_without_a_link() -> None:
    documents = _listing(_case([_document(1), None, "x", 3])).documents
    assert [d.refused_reason for d in documents].count("NO_LINK") == 3
    assert len(documents) == 4


def test_a_further_document_does_not_change_the_id_of_one_without_any() -> None:
    for listed in ([_document(1)], [_document(1), _document(2)]):
        documents = _listing(_case([*listed, {"nome": "x"}])).documents
        assert [d.origin_id for d in documents if not d.hrefs] == ["#1"]


@pytest.mark.parametrize("unread", [None, {}, {"titulo": "x"}, "timeout", 503])
def test_an_id_whose_document_cannot_be_read_is_one_without_a_link(unread: object) -> None:
    by_id = BY_ID | {"3": unread, "page": {"size": 3}, "total": 3, "next": None}
    documents = _listing({"tramitacaoAtual": {"documentos": by_id}}).documents
    assert [(d.origin_id, d.refused_reason) for d in documents] == [
        ("3", "NO_LINK"),
        ("366442001", None),
        ("366442002", None),
    ]
    for held in ({"documento": [_document(1), unread]}, [{"documento": [_document(1), unread]}]):
        documents = _listing({"tramitacaoAtual": {"documentos": held}}).documents
        assert [d.refused_reason for d in documents] == ["NO_LINK", None]


BY_ID = {str(place): _document(place) for place in (1, 2)}


@pytest.mark.parametrize(
    "case",
    [
        {"documentos": [_document(1), _document(2)]},
        {"documentos": BY_ID},
        {"dadosBasicos": {"documentos": [_document(1), _document(2)]}},
        {"dadosBasicos": {"documentos": BY_ID}},
        {"dadosBasicos": {"processo": {"documentos": BY_ID}}},
        {"tramitacaoAtual": {"documentos": BY_ID}},
        {"tramitacaoAtual": {"documentos": {"content": [*BY_ID.values()], "totalElements": 2}}},
        {"tramitacaoAtual": {"documentos": []}, "documentos": [*BY_ID.values()]},
        {"tramitacoes": {"9120": {"documentos": [*BY_ID.values()]}}},
        {"tramitacaoAtual": [{"documentos": BY_ID}]},
        {"movimentos": [{"documento": _document(1)}, {"anexos": [_document(2)]}]},
        {"movimentos": [{"documentos": [_document(1)]}, {"documentos": [_document(2)]}]},
        {"documentos": [_document(1, documentos=[_document(2)])]},
    ],
)
def test_documents_are_found_wherever_they_stand(case: dict[str, Any]) -> None:
    documents = _listing({"numeroProcesso": NUMBER} | case).documents
    assert [d.origin_id for d in documents] == ["366442001", "366442002"]
    assert [d.hrefs for d in documents] == [(_path(1),), (_path(2),)]


_KEYS = ("documentos", "documento", "content", "tramitacoes", "movimentos", "anexos", "x", "7")
_OTHERS: tuple[Any, ...] = (None, "x", 3, {}, [], {"a": 1})
_WRAPS: list[Callable[[Any], Any]] = [
    *((lambda value, key=key: {key: value}) for key in _KEYS),
    *((lambda value, key=key: {key: value, "pecas": [_document(8)]}) for key in _KEYS),
    *((lambda value, other=other: [value, other]) for other in _OTHERS),
    lambda value: [value],
    lambda value: _document(7, documentos=value),
]


@given(
    st.lists(st.sampled_from(_WRAPS), max_size=5),
    st.sampled_from(_KEYS),
    st.booleans(),
    st.sampled_from([_document(9), _document(9, hrefBinario=...)]),
)
def test_no_document_is_lost_wherever_it_stands(
    wraps: list[Callable[[Any], Any]], key: str, has_others: bool, document: Any
) -> None:
    value = document
    for wrap in wraps:
        value = wrap(value)
    case = _case([_document(1)] if has_others else []) | {key: value}
    try:
        documents = _listing(case).documents
    except TransientError:
        return
    assert any(_path(9) in each.hrefs or each.refused_reason for each in documents)


def test_one_document_may_stand_where_a_list_should() -> None:
    assert _listing({"tramitacaoAtual": {"documentos": _document(1)}}).documents[0].sequence == 1


def test_an_object_by_id_identifies_what_nothing_else_does() -> None:
    by_id = {"a1": {"nome": "x"}, "a2": {"nome": "x"}}
    documents = _listing({"tramitacaoAtual": {"documentos": by_id}}).documents
    assert [d.origin_id for d in documents] == ["a1", "a2"]


def test_what_stands_at_two_places_is_one_document_of_its_instance() -> None:
    again = [_document(1), _document(2, idOrigem=...)]
    body = _case([_document(1), _document(2)], documentos=again, movimentos=[{"x": again[1]}])
    documents = _listing(body).documents
    assert [(d.instance, d.origin_id) for d in documents] == [
        ("G1", "366442001"),
        ("G1", "366442002"),
    ]


def test_the_documents_of_another_case_and_of_a_person_are_not_read() -> None:
    other = {"numeroProcesso": OTHER, "documentos": [_document(2)], "x": _document(3)}
    parties = [{"documentos": [{"numero": "1", "tipo": "RG"}]}]
    body = _case([_document(1)], processosRelacionados=[other], partes=parties)
    assert len(_listing(body).documents) == 1


def test_both_lists_are_read_and_each_instance_is_in_the_courts_sequence() -> None:
    second = [_document(place) for place in (3, 1, 2)]
    first = [_document(place) for place in (9, 8)]
    body = _case(second, (G2, []), (G2, first), tramitacaoAtual={"grau": G2, "documentos": second})
    assert [d.sequence for d in _listing(body).documents] == [1, 2, 3, 8, 9]


def test_the_same_origin_in_two_instances_is_two_documents() -> None:
    body = _case([_document(1)], (G2, [_document(1, hrefBinario=_path(2))]))
    assert [d.instance for d in _listing(body).documents] == ["G1", "G2"]


def test_twins_are_one_document_that_prefers_the_one_with_file_facts() -> None:
    plain = _document(1, arquivo=..., hrefBinario=_path(101), nome="", nivelSigilo=...)
    other = _document(2, arquivo=...)
    body = _case([plain, other], (G1, [_document(2, hrefBinario=_path(102)), _document(1)]))
    first, second = _listing(body).documents
    assert first.hrefs == (_path(1), _path(101))
    assert (first.name, first.listed_size_bytes) == ("Documento 1.pdf", 1001)
    assert first.secrecy_level == "PUBLICO"
    assert second.hrefs == (_path(102), _path(2))
    assert second.listed_size_bytes == 1002


def test_twins_of_equal_worth_keep_the_first() -> None:
    body = _case([_document(1)], (G1, [_document(1, hrefBinario=_path(101))]))
    assert _listing(body).documents[0].hrefs == (_path(1), _path(101))


def test_a_twin_fills_the_gaps_of_the_one_that_counts() -> None:
    gaps = _document(1, arquivo={"tipo": ""}, tipo=..., sequencia=..., dataHoraJuntada=...)
    body = _case([gaps], (G1, [_document(1, nome="Outro.pdf")]))
    (joined,) = _listing(body).documents
    assert joined == _only(_document(1))


def test_a_document_listed_twice_has_one_link() -> None:
    upper = _path(1).replace(NUMBER, digits(NUMBER))
    body = _case([_document(1)], (G1, [_document(1, hrefBinario=f"/api/v2{upper}")]))
    assert _listing(body).documents[0].hrefs == (_path(1),)


def test_the_more_secret_of_two_twins_counts() -> None:
    body = _case([_document(1)], (G1, [_document(1, nivelSigilo="NOVO", arquivo=...)]))
    assert _listing(body).documents[0].secrecy_level == "NOVO"


def test_a_level_that_is_a_number_is_as_secret_as_any_unknown_one() -> None:
    body = _case([_document(1, nivelSigilo=5)], (G1, [_document(1)]))
    assert [d.secrecy_level for d in _listing(body).documents] == ["5"]


def test_two_sizes_of_one_link_prove_neither() -> None:
    other = _document(1, arquivo={"tipo": "application/pdf", "tamanho": 7})
    (listed,) = _listing(_case([_document(1)], (G1, [other]))).documents
    assert (listed.listed_size_bytes, listed.listed_content_type) == (None, "application/pdf")


def test_a_twin_with_a_trusted_link_saves_one_without() -> None:
    hostile = _document(1, hrefBinario="https://example.org/x")
    body = _case([hostile], (G1, [_document(1, arquivo=...)]))
    (saved,) = _listing(body).documents
    assert saved.hrefs == (_path(1),)
    assert saved.refused_reason is None
    assert saved.listed_size_bytes == 1001


def test_without_origin_the_link_identifies() -> None:
    same = _document(1, idOrigem=...)
    body = _case([same, _document(2, idOrigem="")], (G1, [same]))
    ids = [d.origin_id for d in _listing(body).documents]
    assert ids == [f"uuid:{_uuid(1)}", f"uuid:{_uuid(2)}"]


def test_an_origin_that_looks_like_a_link_is_another_document() -> None:
    body = _case([_document(1, idOrigem=...), _document(2, idOrigem=f"uuid:{_uuid(1)}")])
    assert len(_listing(body).documents) == 2


def test_documents_that_nothing_identifies_stay_apart() -> None:
    bare = {"nome": "Documento.pdf"}
    body = _case([bare, bare, {}], (G1, [bare]))
    documents = _listing(body).documents
    assert len({d.origin_id for d in documents}) == 4
    assert {d.refused_reason for d in documents} == {"NO_LINK"}


@pytest.mark.parametrize(("left", "right"), [("a\x00", "a"), ("a ", "a"), ("a\ud800", "a\udc00")])
def test_cleaning_never_makes_one_origin_of_two(left: str, right: str) -> None:
    body = _case([_document(1, idOrigem=left), _document(2, idOrigem=right)])
    assert len(_listing(body).documents) == 2


def test_an_origin_that_is_a_number_of_another_form_is_the_same_origin() -> None:
    assert _only(_document(1, idOrigem=7.0)).origin_id == "7"
    assert _only(_document(1, idOrigem=1e300)).origin_id == f"uuid:{_uuid(1)}"


def test_an_origin_that_is_a_number_is_taken_as_text() -> None:
    assert _only(_document(1, idOrigem=366)).origin_id == "366"


@pytest.mark.parametrize(
    ("proceeding", "instance"),
    [
        ({"grau": G2, "instancia": "PRIMEIRO_GRAU"}, "G2"),
        ({"grau": {"sigla": " TR "}}, "TR"),
        ({"instancia": "PRIMEIRO_GRAU"}, "G1"),
        ({"grau": "G2"}, "G2"),
        ({"grau": {"numero": 2}}, "G2"),
        ({"grau": {"sigla": ""}, "instancia": "SEGUNDO_GRAU"}, "G2"),
        ({"grau": None, "instancia": "Turma Recursal Única"}, "Turma Recursal Única"),
        ({}, ""),
    ],
)
def test_the_instance_is_the_grade_else_the_named_one(
    proceeding: dict[str, Any], instance: str
) -> None:
    body = {"tramitacaoAtual": proceeding | {"documentos": [_document(1)]}}
    assert _listing(body).documents[0].instance == instance


@pytest.mark.parametrize(
    "href",
    [
        _path(1),
        f"/api/v2{_path(1)}",
        _path(1).replace(NUMBER, digits(NUMBER)),
        f"/processos/{NUMBER}/documentos/{_uuid(1).upper()}/binario",
    ],
)
def test_the_forms_of_our_own_link_are_one(href: str) -> None:
    assert _only(_document(1, hrefBinario=href)).hrefs == (_path(1),)


@pytest.mark.parametrize(
    "href",
    [
        f"https://portaldeservicos.pdpj.jus.br/api/v2{_path(1)}",
        f"//example.org{_path(1)}",
        f"{_path(1)}?destino=outro",
        f"{_path(1)}#x",
        f"{_path(1)}/",
        f"{_path(1)}\n",
        f" {_path(1)}",
        f"/api/v2/..{_path(1)}",
        f"/api/v1{_path(1)}",
        f"@example.org{_path(1)}",
        _path(1)[1:],
        _path(1).replace(NUMBER, OTHER),
        _path(1).replace(NUMBER, "." + NUMBER[1:]),
        _path(1).replace("/binario", "/texto"),
        _path(1).replace("/binario", "/%62inario"),
        _path(1).replace("/documentos/", "/../documentos/"),
        _path(1).replace("0000-4", "0000/4"),
        _path(1).replace("4000", "\uff14\uff10\uff10\uff10"),
        f"/processos/{NUMBER}/documentos/../binario",
    ],
)
def test_any_other_link_is_not_requested(href: str) -> None:
    listed = _only(_document(1, hrefBinario=href))
    assert listed.hrefs == ()
    assert listed.refused_reason == "UNTRUSTED_LINK"
    assert listed.origin_id == "366442001"


@pytest.mark.parametrize("href", [..., None, "", [], {}, True])
def test_no_link_differs_from_an_untrusted_one(href: object) -> None:
    assert _only(_document(1, hrefBinario=href)).refused_reason == "NO_LINK"


def test_names_lose_what_could_deceive_or_break() -> None:
    name = "Laudo\u202e fdp\x00\ud800\x07\r\n\u2066.exe\x85\ufeff"
    assert _only(_document(1, nome=name)).name == "Laudo fdp.exe"
    assert len(_only(_document(1, nome="ã" * 5_000)).name) == 1_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arquivo", {"tipo": 3, "tamanho": "1001 KB"}),
        ("arquivo", {"tipo": "PDF document", "tamanho": True}),
        ("arquivo", {"tipo": "a/b/c", "tamanho": -1}),
        ("arquivo", {"tipo": "", "tamanho": 2**70}),
        ("arquivo", {"tipo": None, "tamanho": 1.5}),
        ("arquivo", {"tipo": [], "tamanho": 0}),
        ("arquivo", "application/pdf"),
    ],
)
def test_facts_of_a_wrong_type_count_as_absent(field: str, value: object) -> None:
    listed = _only(_document(1, **{field: value}))
    assert listed.listed_size_bytes is None
    assert listed.listed_content_type is None
    assert listed.hrefs == (_path(1),)


def test_numbers_that_come_as_texts_are_read() -> None:
    sizes = ["1001", " 1001 ", "1001.0", 1001.0]
    for size in sizes:
        listed = _only(_document(1, arquivo={"tamanho": size}, sequencia="29"))
        assert (listed.listed_size_bytes, listed.sequence) == (1001, 29)


def test_a_size_in_thousands_is_unknown() -> None:
    assert _only(_document(1, arquivo={"tamanho": "1.000"})).listed_size_bytes is None


def test_plain_values_in_place_of_objects_and_texts_are_read() -> None:
    listed = _only(_document(1, tipo="Laudo", nome=5))
    assert (listed.kind, listed.name) == ("Laudo", "5")


@pytest.mark.parametrize("text", ["2025-06-02T12:53", "2025-06-02T12:53:54.976541", "ontem"])
def test_the_filing_time_is_kept_as_given(text: str) -> None:
    assert _only(_document(1, dataHoraJuntada=text)).filed_local_time == text


def _twice(first: dict[str, Any], second: dict[str, Any], *, is_one_list: bool) -> list[str]:
    body = _case([first, second]) if is_one_list else _case([first], (G1, [second]))
    return sorted(d.origin_id for d in _listing(body).documents)


@pytest.mark.parametrize("is_one_list", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"arquivo": {"tipo": "application/pdf", "tamanho": 7}},
        {"arquivo": {"tipo": "text/html"}},
        {"dataHoraJuntada": "2025-06-03T12:53:54.976"},
        {"nome": "Outro.pdf", "tipo": {"nome": "Outro"}},
        {"nome": "Outro.pdf", "tipo": ...},
    ],
)
def test_one_origin_of_two_files_is_two_documents_known_by_their_links(
    fields: dict[str, Any], is_one_list: bool
) -> None:
    one, other = _document(1), _document(1, hrefBinario=_path(2), **fields)
    ids = [f"uuid:{_uuid(1)}", f"uuid:{_uuid(2)}"]
    assert _twice(one, other, is_one_list=is_one_list) == ids
    # Whichever key comes first.
    assert _twice(other, one, is_one_list=is_one_list) == ids


def test_one_list_has_no_twins_unless_it_repeats_all() -> None:
    bare = {"idOrigem": "0", "nome": "Petição.pdf"}
    one, other = bare | {"hrefBinario": _path(1)}, bare | {"hrefBinario": _path(2)}
    assert len(_twice(one, other, is_one_list=True)) == 2
    assert _twice(one, other, is_one_list=False) == ["0"]
    again = _document(1, hrefBinario=_path(2))
    assert _twice(_document(1), again, is_one_list=True) == ["366442001"]


def test_twins_of_files_that_share_an_id_find_each_other() -> None:
    times = ["2025-06-02T12:53:54", "2025-06-03T12:53:54", "2025-06-04T12:53:54"]
    here = [_document(n, idOrigem="0", dataHoraJuntada=t) for n, t in enumerate(times)]
    there = [d | {"hrefBinario": _path(10 + n), "arquivo": None} for n, d in enumerate(here)]
    documents = _listing(_case(here, (G1, there[::-1]))).documents
    assert [d.hrefs for d in documents] == [(_path(n), _path(10 + n)) for n in range(3)]
    assert len({d.origin_id for d in documents}) == 3


def test_many_documents_of_one_id_take_no_time() -> None:
    documents = [_document(place, idOrigem="0") for place in range(3_000)]
    assert len(_listing(_case(documents, (G1, documents))).documents) == 3_000


def test_the_secrecy_of_a_case_in_two_parts_is_the_higher_one() -> None:
    assert _listing([_case(), _case(nivelSigilo=2)]).secrecy_level == 2
    assert _listing([_case(), _case(nivelSigilo="2")]).secrecy_level is None


def test_document_ids_are_stable_and_never_ambiguous() -> None:
    one = document_id("default", NUMBER, "G1", "366442854")
    assert str(one) == str(document_id("default", NUMBER, "G1", "366442854"))
    assert document_id("a", "b", "c", "d") != document_id("a", "b", "cd", "")
    assert document_id("a", "b", 'c","d', "e") != document_id("a", "b", "c", 'd","e')
    # The keys of stored objects depend on it, so it must never change.
    assert str(one) == "e04ffa46-39c1-51d1-bd76-ca7a16184852"


_keys = st.sampled_from(
    [
        *("tramitacaoAtual", "tramitacoes", "documentos", "numeroProcesso", "nivelSigilo"),
        *("grau", "sigla", "instancia", "idOrigem", "nome", "tipo", "hrefBinario", "arquivo"),
        *("tamanho", "sequencia", "dataHoraJuntada", "content"),
    ]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from([NUMBER, _path(1), _path(2), "G1", "PUBLICO", "application/pdf"])
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=6),
    max_leaves=40,
)


@given(_json)
def test_any_json_is_a_listing_an_unknown_case_or_a_transient_error(body: object) -> None:
    try:
        listing = parse_case(body, NUMBER)
    except TransientError:
        return
    for listed in listing.documents if listing else ():
        text = json.dumps([listed.instance, listed.origin_id, listed.name, listed.kind])
        assert "\\u0000" not in text
        for each in (listed.instance, listed.origin_id, listed.name, listed.secrecy_level):
            each.encode("utf-8")
        assert bool(listed.hrefs) == (listed.refused_reason is None)


@given(
    st.lists(st.fixed_dictionaries({}, optional={"idOrigem": _scalars, "hrefBinario": _scalars}))
)
def test_no_document_is_lost(documents: list[dict[str, Any]]) -> None:
    if documents and not any(documents):
        assert _is_unreadable(_case(documents))
        return
    listing = _listing(_case(documents))
    keys = [(d.instance, d.origin_id) for d in listing.documents]
    assert len(set(keys)) == len(keys)
    origins = {d["idOrigem"] for d in documents if isinstance(d.get("idOrigem"), str)}
    assert len(keys) >= len({origin for origin in origins if origin.strip()})
    unidentified = [d for d in documents if not d]
    assert len(keys) >= len(unidentified)


def test_entries_of_one_link_without_an_id_are_one_document_also_if_two_ids_share_it() -> None:
    ids: list[object] = ["a", "b", ..., ...]
    listed = [_document(1, idOrigem=own_id, arquivo=...) for own_id in ids]
    keys = [(d.instance, d.origin_id) for d in _listing(_case(listed)).documents]
    assert keys == [("G1", "a"), ("G1", "b")]


def test_references_to_documents_do_not_count_as_documents() -> None:
    movements = [{"documentos": [{"idOrigem": "366442001"}, "7"]}] * (MOST_ENTRIES // 2)
    documents = _listing(_case([_document(1)], movimentos=movements)).documents
    assert [d.origin_id for d in documents] == ["7", "366442001"]


def test_a_case_of_too_many_documents_is_refused_for_good() -> None:
    case = {"tramitacaoAtual": {"documentos": [{"nome": 0}] * (MOST_ENTRIES + 1)}}
    with pytest.raises(ListingTooLarge, match="100,000 documents") as refused:
        parse_case([case], NUMBER)
    assert refused.value.reason == "PORTAL_ERROR"
