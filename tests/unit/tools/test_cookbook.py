"""Test that the cookbook covers every call, and that its comparison finds differences."""

from __future__ import annotations

import re

import pytest

from tests.contract_reasons import ALL_REASONS, METHOD_NAMES
from tests.cookbook.answer_matcher import difference, renewed
from tests.cookbook.parser import FILE, steps_of

STEPS = list(steps_of(FILE.read_text()))
ONE, OTHER = "2f1e0c9a-7b3d-4c5e-8f60-1a2b3c4d5e6f", "11111111-7b3d-4c5e-8f60-1a2b3c4d5e6f"


def _called(tool: str) -> set[str]:
    calls = rf"^(?:.*\$\()?{tool} .*SERVICE/(\w+)"
    return {name for step in STEPS for name in re.findall(calls, step.command, re.M)}


@pytest.mark.parametrize("tool", ["grpcurl", "buf_curl"])
def test_every_method_is_called(tool: str) -> None:
    assert _called(tool) == set(METHOD_NAMES)


def test_every_reason_is_met_that_can_be_had_by_hand() -> None:
    answers = "".join(step.answer for step in STEPS)

    missing = {reason for reason in ALL_REASONS if f'"reason":"{reason}"' not in answers}

    assert missing == {"MALFORMED_REQUEST", "UNAVAILABLE", "INTERNAL", "EVENTS_GONE"}


@pytest.mark.parametrize(
    ("printed", "real"),
    [
        ("any\n", "any\n"),
        ('"create_time": "2026-01-01T00:00:00Z",\n', '"create_time": "2027-02-02T00:00:00.5Z"\n'),
        ('"revision": "7"\n', '"revision": "12"\n'),
        (f"{ONE}\n{ONE}\n", f"{OTHER}\n{OTHER}\n"),
        ("  Message: context deadline exceeded\n", "  Message: Deadline Exceeded\n"),
        ("a\n...\nd\n", "a\nb\nc\nd\n"),
        ("...\n", "any\n"),
        ("a\nb\n", 'a\n  "queue_position": 1,\nb\n'),
    ],
)
def test_what_must_vary_may(printed: str, real: str) -> None:
    assert difference(printed, real, {}) == ""


@pytest.mark.parametrize(
    ("printed", "real"),
    [
        ("any\n", ""),
        ("", "any\n"),
        ("a\n", "a\nb\n"),
        ("a\n...\nd\n", "a\nb\n"),
        ("a\n...\nd\n", "b\nd\n"),
        ("a\n...\na\n", "a\n"),
        ('"size_bytes": "7"\n', '"size_bytes": "12"\n'),
        (f"{ONE}\n{ONE}\n", f"{ONE}\n{OTHER}\n"),
    ],
)
def test_a_different_answer_is_reported(printed: str, real: str) -> None:
    assert difference(printed, real, {})


def test_a_renewed_answer_is_cut_where_the_printed_one_is() -> None:
    assert renewed("a\n...\nd\n", "x\n1\n2\ny\n") == "x\n...\ny\n"
    assert renewed("a\n", "x\ny\n") == "x\ny\n"
