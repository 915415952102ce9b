"""Test the pace of passes: a burst begins at once, and steady passes keep their interval."""

from __future__ import annotations

import pytest

from actors.scheduler.loop import BURST_PASSES, PASS_INTERVAL_S, Pace


def test_a_burst_of_passes_begins_at_once() -> None:
    pace = Pace(0.0)
    assert [pace.pause_s(0.0) for _ in range(BURST_PASSES)] == [0.0] * BURST_PASSES
    assert pace.pause_s(0.0) > 0


def test_passes_under_load_keep_their_interval() -> None:
    pace, now, begun = Pace(0.0), 0.0, []
    for _ in range(BURST_PASSES + 100):
        now += pace.pause_s(now)
        begun.append(now)
    assert begun[-1] == pytest.approx(100 * PASS_INTERVAL_S)


def test_passes_that_are_rarer_than_the_interval_never_wait() -> None:
    pace = Pace(0.0)
    assert not any(pace.pause_s(n * 1.01 * PASS_INTERVAL_S) for n in range(1000))
