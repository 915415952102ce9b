"""Estimates come true: what callers are told after the first tenth of a job, on a virtual clock."""

from __future__ import annotations

import pytest

from storage.database import Database
from tests.bench import estimates, record, scenarios
from tests.bench.estimates import Estimate
from tests.bench.fairness import Simulation
from tests.bench.scenarios import Scenario
from tests.bench.simulate import ROOM


def _told(database: Database, scenario: Scenario) -> list[Estimate]:
    outcomes = Simulation(database, ROOM, record.read(), slow=scenario.slow).run(scenario.arrivals)
    assert [o.arrival for o in outcomes if not o.estimate] == []
    return [outcome.estimate for outcome in outcomes if outcome.estimate]


# Of ten jobs two are more than a fifth short, and chance may take one.
@pytest.mark.parametrize(
    ("scenario", "least"),
    [
        (scenarios.ten_clients(0.7), 0.85),
        (scenarios.ten_courts(0.7), 0.8),
        (scenarios.priorities(0.7), 0.8),
    ],
    ids=lambda value: getattr(value, "title", None),
)
def test_after_a_tenth_of_a_job_its_end_is_told_within_30_percent(
    database: Database, scenario: Scenario, least: float
) -> None:
    judged = estimates.judged(_told(database, scenario))

    assert len(judged) >= 8
    assert estimates.share_within(judged) >= least, judged


def test_a_large_job_is_told_well_though_small_ones_come_later(database: Database) -> None:
    large, *small = _told(database, scenarios.large_and_small(0.1))

    assert large.is_within, large
    assert large.came_later
    assert estimates.share_within(small) >= 0.4, small
