"""Test estimates on a virtual clock: after the first tenth of a job they come true."""

from __future__ import annotations

import pytest

from tests.bench.fairness import estimate_errors, scenarios
from tests.bench.fairness.estimate_errors import Estimate
from tests.bench.fairness.fairness_simulation import FairnessRun
from tests.bench.fairness.full_size_simulation import ROOM
from tests.bench.fairness.scenarios import Scenario
from tests.bench.traffic import latency_record

# At full size nine in ten hold; the fewer documents a job has, the more one slow answer matters.
LEAST = 0.75


def _estimates(scenario: Scenario) -> list[Estimate]:
    outcomes = FairnessRun(scenario, ROOM, latency_record.read()).run()
    assert [o.arrival for o in outcomes if not o.estimate] == []
    return [outcome.estimate for outcome in outcomes if outcome.estimate]


@pytest.mark.parametrize(
    "scenario",
    [scenarios.ten_courts(0.4), scenarios.priorities(0.4)],
    ids=lambda scenario: scenario.title,
)
def test_after_a_tenth_of_a_job_its_end_is_estimated_within_30_percent(scenario: Scenario) -> None:
    judged = estimate_errors.judged(_estimates(scenario))

    assert len(judged) >= 7
    assert estimate_errors.share_within(judged) >= LEAST, judged


def test_a_large_job_has_a_good_estimate_though_small_ones_come_later() -> None:
    large, *small = _estimates(scenarios.large_and_small(0.06))

    assert large.is_within, large
    assert large.came_later
    assert estimate_errors.share_within(small) >= 0.4, small
