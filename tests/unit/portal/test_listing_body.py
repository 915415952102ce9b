"""Test the body of a listing: what JSON becomes is bounded before it is decoded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.case_file.case_limits import MOST_BYTES, MOST_VALUES, ListingTooLarge
from actors.portal.listing_body import (
    LARGE_BYTES,
    LARGE_VALUES,
    ListingBody,
    ListingTurn,
    ListingTurns,
)
from actors.resilience.exchange_deadline import Deadline
from storage.errors import LeaseLost, ServiceUnavailable

_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
)


@pytest.fixture
def body(tmp_path: Path) -> Iterator[ListingBody]:
    with closing(ListingBody(tmp_path)) as body:
        yield body


def _values(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + sum(map(_values, inner))
    return 1


@given(_JSON, st.sampled_from(["utf-8", "utf-16", "utf-32", "windows-1252"]))
def test_no_json_has_more_values_than_were_counted(value: Any, codec: str) -> None:
    with closing(ListingBody(None)) as body:
        body.add(json.dumps(value).encode(codec))
        assert _values(value) <= body.values_at_most


@pytest.mark.parametrize("each", [b"{},", b"[],", b"0,", b'{"":', b"[", b'"x",'])
def test_a_body_with_too_many_values_is_refused_while_it_arrives(
    body: ListingBody, each: bytes
) -> None:
    marks = sum(each.count(mark) for mark in (b",", b"[", b"{"))
    body.add(each * (MOST_VALUES // marks - 1))
    with pytest.raises(ListingTooLarge, match="2,500,000 values") as refused:
        body.add(each * 2)
    assert (refused.value.reason, refused.value.is_retryable) == ("PORTAL_ERROR", False)


def test_a_body_with_too_many_bytes_is_refused(body: ListingBody) -> None:
    half = b" " * (MOST_BYTES // 2)
    body.add(half)
    body.add(half)
    with pytest.raises(ListingTooLarge, match="64 MiB"):
        body.add(b" ")


def test_a_case_of_20_000_documents_in_two_lists_is_accepted(body: ListingBody) -> None:
    entry: dict[str, Any] = {str(field): "Petição, com vírgula" for field in range(20)} | {
        "tipo": {}
    }
    text = json.dumps(entry).encode() + b","
    for _ in range(40):
        body.add(text * 1_000)
    assert body.is_large


@pytest.mark.parametrize("piece", [b" " * (LARGE_BYTES + 1), b"0," * LARGE_VALUES])
def test_the_body_of_a_large_listing_is_read_as_it_came_and_leaves_nothing(
    piece: bytes, tmp_path: Path
) -> None:
    with closing(ListingBody(tmp_path)) as body:
        sizes = []
        for part in (b"[", piece):
            body.add(part)
            sizes.append(body.is_large)
        assert sizes == [False, True]
        assert body.read() == b"[" + piece
        assert not list(tmp_path.iterdir())


def test_large_listings_have_their_turns_one_after_another() -> None:
    turns, order = ListingTurns(), list[str]()
    waiting = threading.Event()

    def second() -> None:
        with turns.turn() as turn:
            waiting.set()
            turn.take(Deadline(60))
            order.append("second")

    with turns.turn() as first:
        first.take(Deadline(60))
        # A turn that is taken already is not waited for.
        first.take(Deadline(60))
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_a_turn_is_released_after_an_error_and_only_if_it_was_taken() -> None:
    turns = ListingTurns()
    with pytest.raises(LeaseLost), turns.turn() as turn:
        _fail(turn)
    with turns.turn() as holder:
        holder.take(Deadline(60))
        with turns.turn():
            pass
        with turns.turn() as other:
            _is_refused(other)


def _fail(turn: ListingTurn) -> None:
    turn.take(Deadline(60))
    raise LeaseLost("Taken back.")


def _is_refused(turn: ListingTurn) -> None:
    """Assert that a turn held by another listing is refused without blame for the portal."""
    with pytest.raises(ServiceUnavailable):
        turn.take(Deadline(0))
    cut = Deadline(60)
    cut.cut(LeaseLost("Taken back."))
    with pytest.raises(LeaseLost):
        turn.take(cut)
    assert not turn.is_taken
