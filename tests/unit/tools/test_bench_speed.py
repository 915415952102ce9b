"""Test the figures of `make bench` on cases that can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.speed.goals import Result, at_least, at_most, keep
from tests.bench.speed.latency_model import (
    LogNormalLatency,
    in_batches_s,
    in_order_s,
    longest_first_s,
)
from tests.bench.speed.profiling import collapsed_stacks
from tests.bench.speed.profiling.profiles import statements

LATENCIES = [5.0, 1.0, 1.0, 1.0, 4.0]


def test_goal_is_judged_by_the_median_of_its_rounds() -> None:
    assert at_least("speed", 2, [1, 2, 9]).is_met
    assert not at_least("speed", 2, [9, 1.9, 1]).is_met
    assert at_most("time", 2, [9, 2, 1]).is_met
    assert not at_most("time", 2, [1, 2.1, 9]).is_met


def test_result_is_kept_with_every_round(tmp_path: Path) -> None:
    result = Result("speed", [at_least("speed", 2, [1, 3, 5], " x")], {"raw": [1, 3, 5]})

    kept = json.loads(keep(result, tmp_path / "new", rounds=3).read_text())

    (goal,) = kept["goals"]
    assert (goal["median"], goal["is_met"], goal["values"]) == (3, True, [1, 3, 5])
    assert kept["figures"] == {"raw": [1, 3, 5]}


def test_lanes_take_the_next_document_as_soon_as_they_are_free() -> None:
    # One lane has the first document alone; the other has 1 + 1 + 1 + 4.
    assert in_order_s(LATENCIES, 2) == 7
    # 5 + 1, and 4 + 1 + 1.
    assert longest_first_s(LATENCIES, 2) == 6
    # 5, 1 and 4: each batch waits for its slowest document.
    assert in_batches_s(LATENCIES, 2) == 10


def test_drawn_latency_is_the_documents_own() -> None:
    drawn = LogNormalLatency(0.4, 0.8, 1)

    assert drawn.of("a", 0) == LogNormalLatency(0.4, 0.8, 1).of("a", 0)
    assert len({drawn.of("a", 0), drawn.of("a", 1), drawn.of("b", 0)}) == 3
    assert LogNormalLatency(0.4, 0, 1).of("a", 0) == pytest.approx(0.4)


def test_statements_are_counted_without_their_values() -> None:
    log = (
        "2026-01-02 03:04:05.006 UTC [7] LOG:  duration: 1.500 ms  statement: \n"
        "UPDATE jobs SET a = 'it''s'::text\n\tWHERE b = 12 AND c IN ('x', 'y')\n"
        "2026-01-02 03:04:05.007 UTC [7] LOG:  duration: 0.500 ms  statement: "
        "UPDATE jobs SET a = NULL WHERE b = 7 AND c IN ('z')\n"
        "2026-01-02 03:04:05.008 UTC [7] LOG:  checkpoint starting: time\n"
    )

    assert statements(log) == {"UPDATE jobs SET a = ? WHERE b = ? AND c IN (?)": (2, 2.0)}


def test_stacks_are_shared_out_without_those_that_wait() -> None:
    lines = [
        "run (threading.py:1);work (actors/worker.py:5);send (socket.py:9) 3",
        "run (threading.py:1);work (actors/worker.py:7);send (socket.py:8) 1",
        "run (threading.py:1);Condition.wait (threading.py:9) 90",
    ]

    stacks = "\n".join(collapsed_stacks.format_stacks(lines))

    assert "4 samples" in stacks
    assert "100.0%  send (socket.py)" in stacks
    assert "100.0%  work (actors/worker.py)" in stacks
