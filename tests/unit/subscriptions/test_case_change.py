"""Test how a listing differs from the one before."""

from __future__ import annotations

import json
from typing import Any

from storage.listings.listed_case import CaseListing, ListedDocument
from storage.listings.listing_import import ListingImport
from storage.subscriptions.case_change import MOST_IDS, MOST_MOVEMENTS, Baseline, CaseChange, change

NUMBER = "1003579-22.2025.8.26.0564"
MOVEMENTS = [
    {"local_time": f"2026-01-{day:02}T10:00:00", "description": f"Ato {day}", "code": day}
    for day in (3, 1, 2)
]


def _listing(*names: str, **fields: Any) -> ListingImport:
    """Return a listing with a document of each name; its place is its origin."""
    documents = tuple(
        ListedDocument(
            **{
                "instance": "G1",
                "origin_id": str(place),
                "name": name,
                "kind": "Petição",
                "sequence": place,
                "filed_local_time": "2026-01-01T10:00:00",
                "secrecy_level": "PUBLICO",
                "hrefs": ("/a",),
                "listed_size_bytes": 1_000,
                "listed_content_type": "application/pdf",
                "refused_reason": None,
                **fields,
            }
        )
        for place, name in enumerate(names)
    )
    return ListingImport.of("default", NUMBER, CaseListing(0, documents))


def _data(*movements: Any) -> dict[str, Any]:
    return {"proceedings": [{"movements": list(movements)}]}


def _change(before: Baseline, listing: ListingImport, data: Any) -> CaseChange:
    return change(before, Baseline.of(listing, data), data, is_sealed=False)


def test_an_equal_listing_is_no_change_also_after_a_round_trip() -> None:
    listing, data = _listing("a", "b"), _data(*MOVEMENTS)
    before = Baseline.of_values(json.loads(json.dumps(Baseline.of(listing, data).as_values)))

    found = _change(before, listing, data)

    assert not found
    assert found == CaseChange()


def test_what_makes_a_document_another_one() -> None:
    before = Baseline.of(_listing("a"), None)
    ids = tuple(before.documents)
    for fields in ({"kind": "x"}, {"listed_size_bytes": 2}, {"secrecy_level": "SIGILO"}):
        assert _change(before, _listing("a", **fields), None).changed_document_ids == ids
    assert _change(before, _listing("z"), None).changed_document_ids == ids
    # Where a document stands, and where its file is, makes no difference.
    moved = _listing("a", sequence=7, hrefs=("/b",), filed_local_time="")
    assert not _change(before, moved, None)


def test_new_movements_come_newest_first_and_not_too_many() -> None:
    listing = _listing("a")
    before = Baseline.of(listing, _data())

    found = _change(before, listing, _data(*MOVEMENTS))
    assert [each["code"] for each in found.new_movements] == [3, 2, 1]
    assert not found.concerns_documents

    many = [{**MOVEMENTS[0], "code": code} for code in range(MOST_MOVEMENTS + 1)]
    assert len(_change(before, listing, _data(*many)).new_movements) == MOST_MOVEMENTS


def test_two_instances_with_one_movement_report_it_once() -> None:
    listing = _listing("a")
    data = {"proceedings": [{"movements": MOVEMENTS[:1]}, {"movements": MOVEMENTS[:1]}]}

    assert len(_change(Baseline.of(listing, _data()), listing, data).new_movements) == 1


def test_a_listing_without_the_cases_data_keeps_what_is_known_of_it() -> None:
    listing = _listing("a")
    known = Baseline.of(listing, _data(*MOVEMENTS))
    unknown = Baseline.of(listing, None)

    assert not _change(known, listing, None)
    assert known.followed_by(unknown) == known
    # What was unknown is a baseline, and no news.
    assert not _change(unknown, listing, _data(*MOVEMENTS))


def test_an_event_has_so_many_ids_of_each_kind_at_most() -> None:
    ids = tuple(map(str, range(MOST_IDS + 1)))
    values = CaseChange(ids, ids[:1], ids).as_values

    assert [len(value) for value in values.values()] == [MOST_IDS, 1, MOST_IDS, 0]
