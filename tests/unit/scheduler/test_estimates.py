"""Estimates come true: what callers are told after the first tenth of a job, on a virtual clock."""

from __future__ import annotations

import pytest

from tests.bench import estimates, record, scenarios
from tests.bench.estimates import Estimate
from tests.bench.fairness import FairnessRun
from tests.bench.scenarios import Scenario
from tests.bench.simulate import ROOM

# At full size nine in ten; the fewer documents a job has, the more one slow answer decides.
LEAST = 0.75


def _told(scenario: Scenario) -> list[Estimate]:
    outcomes = FairnessRun(scenario, ROOM, record.read()).run()
    assert [o.arrival for o in outcomes if not o.estimate] == []
    return [outcome.estimate for outcome in outcomes if outcome.estimate]


@pytest.mark.parametrize(
    "scenario",
    [scenarios.ten_courts(0.4), scenarios.priorities(0.4)],
    ids=lambda scenario: scenario.title,
)
def test_after_a_tenth_of_a_job_its_end_is_told_within_30_percent(scenario: Scenario) -> None:
    judged = estimates.judged(_told(scenario))

    assert len(judged) >= 8
    assert estimates.share_within(judged) >= LEAST, judged


def test_a_large_job_is_told_well_though_small_ones_come_later() -> None:
    large, *small = _told(scenarios.large_and_small(0.06))

    assert large.is_within, large
    assert large.came_later
    assert estimates.share_within(small) >= 0.4, small
