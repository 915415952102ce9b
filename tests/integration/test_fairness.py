"""Waiting is shared: the real rule on real rows, recorded latencies, a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from storage.database import Database
from tests.bench import record, scenarios
from tests.bench.fairness import Outcome, Simulation
from tests.bench.scenarios import Scenario
from tests.bench.simulate import MOST, ROOM


def _run(database: Database, scenario: Scenario) -> Sequence[Outcome]:
    outcomes = Simulation(database, ROOM, record.read(), slow=scenario.slow).run(scenario.arrivals)
    assert [outcome.arrival for outcome in outcomes] == list(scenario.arrivals)
    return outcomes


@pytest.mark.parametrize(
    "scenario",
    [scenarios.ten_clients(0.2), scenarios.ten_courts(0.2)],
    ids=lambda scenario: scenario.title,
)
def test_nobody_takes_much_longer_than_on_its_share(database: Database, scenario: Scenario) -> None:
    assert max(outcome.ratio for outcome in _run(database, scenario)) <= MOST


@pytest.mark.parametrize("client", ["small", "grande"])
def test_small_jobs_do_not_wait_for_a_large_one_that_came_first(
    database: Database, client: str
) -> None:
    large, *small = _run(database, scenarios.large_and_small(0.06, small_client=client))

    assert max(outcome.ratio for outcome in small) <= MOST
    assert max(o.arrival.at_s + o.taken_s for o in small) < large.taken_s, "none came too late"


def test_priorities_order_the_jobs_of_a_client_and_of_no_other(database: Database) -> None:
    *own, other = _run(database, scenarios.priorities(0.2))

    def ends(priority: str) -> list[float]:
        return [o.arrival.at_s + o.taken_s for o in own if o.arrival.priority == priority]

    assert max(ends("HIGH")) < min(ends("NORMAL"))
    assert max(ends("NORMAL")) < min(ends("BULK"))
    assert other.ratio <= MOST
