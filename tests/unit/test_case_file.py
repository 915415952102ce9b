"""The case file: no document is lost, none is merged wrongly, nothing crashes the reading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.case_file import parse_case
from storage.errors import TransientError
from storage.listing import CaseListing, ListedDocument, document_id
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


@pytest.mark.parametrize("nothing", [None, [], {}, "x", 3, [None, 1, "x", []]])
def test_lists_that_are_absent_or_of_a_wrong_type_hold_nothing(nothing: object) -> None:
    assert _listing({"numeroProcesso": NUMBER}).documents == ()
    assert _listing({"tramitacaoAtual": nothing, "tramitacoes": nothing}).documents == ()
    inner = {"documentos": nothing}
    assert _listing({"tramitacaoAtual": inner, "tramitacoes": [inner, inner]}).documents == ()


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


def test_an_origin_that_is_a_number_is_taken_as_text() -> None:
    assert _only(_document(1, idOrigem=366)).origin_id == "366"


@pytest.mark.parametrize(
    ("proceeding", "instance"),
    [
        ({"grau": G2, "instancia": "PRIMEIRO_GRAU"}, "G2"),
        ({"grau": {"sigla": " TR "}}, "TR"),
        ({"instancia": "PRIMEIRO_GRAU"}, "G1"),
        ({"grau": {"sigla": ""}, "instancia": "SEGUNDO_GRAU"}, "G2"),
        ({"grau": None, "instancia": "Turma Recursal Única"}, "Turma Recursal Única"),
        ({"grau": "G1"}, ""),
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
def test_any_other_link_is_not_asked_at_all(href: str) -> None:
    listed = _only(_document(1, hrefBinario=href))
    assert listed.hrefs == ()
    assert listed.refused_reason == "UNTRUSTED_LINK"
    assert listed.origin_id == "366442001"


@pytest.mark.parametrize("href", [..., None, "", [], {}, True])
def test_no_link_is_told_apart_from_an_untrusted_one(href: object) -> None:
    assert _only(_document(1, hrefBinario=href)).refused_reason == "NO_LINK"


def test_names_lose_what_could_deceive_or_break() -> None:
    name = "Laudo\u202e fdp\x00\ud800\x07\r\n\u2066.exe\x85\ufeff"
    assert _only(_document(1, nome=name)).name == "Laudo fdp.exe"
    assert len(_only(_document(1, nome="ã" * 5_000)).name) == 1_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arquivo", {"tipo": 3, "tamanho": "1001"}),
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


@pytest.mark.parametrize("text", ["2025-06-02T12:53", "2025-06-02T12:53:54.976541"])
def test_the_filing_time_is_kept_as_given(text: str) -> None:
    assert _only(_document(1, dataHoraJuntada=text)).filed_local_time == text


@pytest.mark.parametrize("text", ["ontem", "2025-13-02T12:53:54", "0000-01-01T00:00:00", 5])
def test_a_filing_time_that_is_none_counts_as_absent(text: object) -> None:
    assert _only(_document(1, dataHoraJuntada=text)).filed_local_time == ""


def test_the_secrecy_of_a_case_in_two_parts_is_the_higher_one() -> None:
    assert _listing([_case(), _case(nivelSigilo=2)]).secrecy_level == 2
    assert _listing([_case(), _case(nivelSigilo="2")]).secrecy_level is None


def test_document_ids_are_stable_and_never_ambiguous() -> None:
    one = document_id("default", NUMBER, "G1", "366442854")
    assert str(one) == str(document_id("default", NUMBER, "G1", "366442854"))
    assert document_id("a", "b", "c", "d") != document_id("a", "b", "cd", "")
    assert document_id("a", "b", 'c","d', "e") != document_id("a", "b", "c", 'd","e')
    # Objects in buckets are found by it: this may never change.
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
    listing = _listing(_case(documents))
    keys = [(d.instance, d.origin_id) for d in listing.documents]
    assert len(set(keys)) == len(keys)
    origins = {d["idOrigem"] for d in documents if isinstance(d.get("idOrigem"), str)}
    assert len(keys) >= len({origin for origin in origins if origin.strip()})
    unidentified = [d for d in documents if not d]
    assert len(keys) >= len(unidentified)
