"""Test which documents of a case are wanted."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.listings.listed_case import ListedDocument
from storage.selections.selection import (
    EVERYTHING,
    MOST_UNLISTED,
    NOTHING,
    Selection,
    Wants,
    folded,
)

IDS = [uuid4() for _ in range(4)]
PLAIN = ListedDocument(
    instance="G1",
    origin_id="1",
    name="x",
    kind="Sentença",
    sequence=1,
    filed_local_time="2025-06-02T12:53:54",
    secrecy_level="PUBLICO",
    hrefs=("/x",),
    listed_size_bytes=1000,
    listed_content_type=None,
    refused_reason=None,
)


def _has(
    selection: Selection, document: ListedDocument = PLAIN, case_level: int | None = 0
) -> bool:
    return bool(Wants((selection,)).of_case([(IDS[0], document)], case_level))


@pytest.mark.parametrize(
    "kind", ["sentença", "SENTENCA", "Sentenca", " sentença ", "Senten\u0063\u0327a"]
)
def test_kinds_compare_without_case_and_accents(kind: str) -> None:
    assert _has(Selection(kinds=("Despacho", kind)))


def test_another_kind_is_not_wanted() -> None:
    assert not _has(Selection(kinds=("Despacho", "Sentenças")))
    assert not _has(Selection(kinds=("Despacho",)), replace(PLAIN, kind=""))


def test_dates_are_inclusive_and_a_document_without_a_date_is_wanted() -> None:
    day = Selection(filed_from_date="2025-06-02", filed_to_date="2025-06-02")

    assert _has(day)
    assert not _has(day, replace(PLAIN, filed_local_time="2025-06-01T23:59:59"))
    assert not _has(day, replace(PLAIN, filed_local_time="2025-06-03"))
    for text in ("", "02/06/2025", "ontem", "2025-13-40T00:00:00", "2025-06"):
        assert _has(day, replace(PLAIN, filed_local_time=text)), text


def test_a_document_without_a_listed_size_is_wanted() -> None:
    small = Selection(max_size_bytes=1000)

    assert _has(small)
    assert not _has(small, replace(PLAIN, listed_size_bytes=1001))
    assert _has(small, replace(PLAIN, listed_size_bytes=None))


def test_sealed_counts_by_the_case_and_by_the_document() -> None:
    public = Selection(exclude_sealed=True)

    assert _has(public)
    assert not _has(public, replace(PLAIN, secrecy_level="SIGILOSO"))
    assert not _has(public, replace(PLAIN, secrecy_level=""))
    assert not _has(public, case_level=1)
    assert not _has(public, case_level=None)


def test_all_conditions_of_a_selection_must_hold_and_any_selection_is_enough() -> None:
    one, other = Selection(kinds=("Sentença",)), Selection(instances=("G2",))
    both = replace(one, instances=("G2",))

    assert not _has(both)
    assert Wants((both, one)).of_case([(IDS[0], PLAIN)], 0) == {IDS[0]}
    assert Wants((other,)).of_case([(IDS[0], PLAIN)], 0) == frozenset()


def test_everything_and_nothing() -> None:
    case = [(each, PLAIN) for each in IDS]

    assert EVERYTHING.of_case(case, None) == set(IDS)
    assert NOTHING.of_case(case, 0) == frozenset()
    assert Selection().is_everything
    assert not Selection(exclude_sealed=True).is_everything


def test_ids_that_are_not_listed_are_named_once_in_their_order_and_not_all() -> None:
    given_ids = [str(UUID(int=n)) for n in (3, 1, 2)]
    wants = Wants(
        (Selection(document_ids=tuple(given_ids)), Selection(document_ids=(given_ids[0],)))
    )

    assert wants.unlisted([UUID(int=1)]) == [UUID(int=3), UUID(int=2)]
    many = Wants((Selection(document_ids=tuple(str(UUID(int=n)) for n in range(200))),))
    assert len(many.unlisted([])) == MOST_UNLISTED
    assert EVERYTHING.unlisted([]) == NOTHING.unlisted([]) == []


SELECTIONS = st.builds(
    Selection,
    document_ids=st.lists(st.sampled_from([str(each) for each in IDS]), unique=True).map(tuple),
    kinds=st.lists(st.sampled_from(["Sentença", "DESPACHO", "ata"]), unique=True).map(tuple),
    instances=st.lists(st.sampled_from(["G1", "G2"]), unique=True).map(tuple),
    filed_from_date=st.sampled_from(["", "2025-01-01", "2025-06-02"]),
    filed_to_date=st.sampled_from(["", "2025-06-02", "2025-12-31"]),
    max_size_bytes=st.sampled_from([0, 10, 1000]),
    exclude_sealed=st.booleans(),
)
WANTS = st.builds(Wants, st.none() | st.lists(SELECTIONS, max_size=3).map(tuple))
DOCUMENTS = st.builds(
    lambda kind, instance, filed, level, size: replace(
        PLAIN,
        kind=kind,
        instance=instance,
        filed_local_time=filed,
        secrecy_level=level,
        listed_size_bytes=size,
    ),
    st.sampled_from(["sentenca", "Despacho", "ATA", ""]),
    st.sampled_from(["G1", "G2", ""]),
    st.sampled_from(["", "2024-12-31T00:00:00", "2025-06-02", "2026-01-01T10:00"]),
    st.sampled_from(["PUBLICO", "SIGILOSO", ""]),
    st.sampled_from([None, 0, 10, 11, 1001]),
)
CASES = st.lists(DOCUMENTS, max_size=4).map(lambda found: list(zip(IDS, found, strict=False)))
LEVELS = st.sampled_from([0, 1, None])


@given(WANTS, WANTS, CASES, LEVELS)
def test_a_joining_call_adds_and_never_takes_away(
    first: Wants, second: Wants, case: list[tuple[UUID, ListedDocument]], level: int | None
) -> None:
    joined = first.joined(second)

    assert joined.of_case(case, level) == first.of_case(case, level) | second.of_case(case, level)
    assert joined.joined(second) == joined
    assert joined.covers(first)
    assert joined.covers(second)


@given(WANTS)
def test_wants_survive_their_column(wants: Wants) -> None:
    assert Wants.of(json.loads(json.dumps(wants.as_values))) == wants


@given(st.text(alphabet="abcçãéÍõü xYZ", max_size=20))
def test_folding_ignores_case_and_spaces_at_the_ends_and_is_stable(text: str) -> None:
    assert folded(text.upper()) == folded(text.lower()) == folded(f" {text} ")
    assert folded(folded(text)) == folded(text)
