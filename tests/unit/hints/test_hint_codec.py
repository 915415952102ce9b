"""Test that hints survive encoding and decoding."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    "hint",
    [
        JobWanted(JOB),
        JobEnded(uuid4()),
        SliceBegun(uuid4(), uuid4(), uuid4(), (uuid4(), uuid4()), False, 12.5, None),
        SliceBegun(None, uuid4(), uuid4()),
        ProposalRefused(uuid4(), uuid4(), RefusedScope.CASE, None, True),
        SlotFreed(uuid4(), 0.25),
        Ended(uuid4(), uuid4(), None, (uuid4(),), (), 3.5),
        PlaceAsked((uuid4(), uuid4())),
    ],
)
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
    ],
)
def test_what_is_no_hint_is_dropped(text: str) -> None:
    assert decode(text) is None
