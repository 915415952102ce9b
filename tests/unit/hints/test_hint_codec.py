"""Test that hints survive encoding and decoding."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from actors.hints.hints import (
    Ended,
    Hint,
    JobEnded,
    JobWanted,
    PlaceAsked,
    ProposalRefused,
    SliceBegun,
    SlotFreed,
    decode,
    encode,
)
from storage.portal.outcomes import RefusedScope
from storage.priorities import Priority
from storage.scheduling.row_values import JobRow

JOB = JobRow(
    uuid4(), "client", Priority.HIGH, "8.26", "case", 17.5, slices=frozenset({uuid4(), uuid4()})
)


HINTS: list[Hint] = [
    JobWanted(JOB),
    JobEnded(uuid4()),
    SliceBegun(uuid4(), uuid4(), uuid4(), (uuid4(), uuid4()), False, 12.5, None),
    SliceBegun(None, uuid4(), uuid4()),
    ProposalRefused(uuid4(), uuid4(), RefusedScope.CASE, None, True),
    SlotFreed(uuid4(), 0.25),
    Ended(uuid4(), uuid4(), None, (uuid4(),), (), 3.5),
    PlaceAsked((uuid4(), uuid4())),
]


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_is_the_same_after_its_way_through_a_text(hint: Hint) -> None:
    assert decode(encode(hint)) == hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '["Begun", {}]',
        '["Other", {"job_id": "x"}]',
        '["JobEnded", {"job_id": 7}]',
        '["JobWanted", {"job_id": "x"}]',
        '["JobEnded", {"job_id": null, "more": 1}]',
        "\xff",
        "[" * 100_000,
    ],
)
def test_what_is_no_hint_is_dropped(text: str) -> None:
    assert decode(text) is None


WRONG: tuple[object, ...] = (
    *("soon", -1, True, {"a": 7}, [7], 1e13, 10**400),
    *(float("nan"), float("inf"), float("-inf")),
)


@pytest.mark.parametrize("hint", HINTS)
def test_no_value_of_another_type_reaches_the_scheduler(hint: Hint) -> None:
    kind, values = json.loads(encode(hint))
    for name in values:
        for wrong in WRONG:
            found = decode(json.dumps([kind, values | {name: wrong}]))
            if found is not None:
                # Only these are values of some field's type.
                held = getattr(found.job if isinstance(found, JobWanted) else found, name)
                assert (type(wrong), type(held)) in {(str, str), (bool, bool)}
