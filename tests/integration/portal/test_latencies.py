"""Test the request time of a court: measured by many processes, kept as one average."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest

from actors.portal.latency_recorder import INTERVAL_S, LatencyRecorder
from storage.estimates.request_times import KEPT, PLAIN_REQUESTS, record_times
from storage.postgres.database import Database, Row
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently

AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


class _Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _court(database: Database, court: str) -> Row:
    with database.transaction() as transaction:
        return transaction.only("SELECT * FROM courts WHERE court = %(court)s", court=court)


def _record(database: Database, court: str, times: Iterable[float]) -> None:
    for seconds in times:
        record_times(database, {court: (seconds, 1)})


def test_the_first_requests_of_a_court_give_their_plain_mean(database: Database) -> None:
    record_times(database, {"8.26": (6.0, 3), "8.19": (1.0, 1)})
    record_times(database, {"8.26": (4.0, 2)})

    assert _court(database, "8.26")["request_s"] == pytest.approx(10 / 5)
    assert _court(database, "8.26")["measured_requests"] == 5
    assert _court(database, "8.19")["request_s"] == pytest.approx(1.0)


def test_what_was_assumed_before_does_not_count(database: Database) -> None:
    factories.execute(database, "INSERT INTO courts (court, failure_count) VALUES ('8.26', 3)")

    record_times(database, {"8.26": (4.0, 2)})

    assert _court(database, "8.26")["request_s"] == pytest.approx(2.0)
    assert _court(database, "8.26")["failure_count"] == 3


def test_later_the_newest_counts_most_however_it_is_reported(database: Database) -> None:
    for court in ("8.26", "8.19"):
        record_times(database, {court: (PLAIN_REQUESTS * 1.0, PLAIN_REQUESTS)})

    _record(database, "8.26", [3.0] * 10)
    record_times(database, {"8.19": (30.0, 10)})

    expected = pytest.approx(1 + 2 * (1 - KEPT**10))
    assert _court(database, "8.26")["request_s"] == expected
    assert _court(database, "8.19")["request_s"] == expected


def test_no_time_and_no_requests_break_nothing(database: Database) -> None:
    record_times(database, {"8.26": (0.0, 4), "8.19": (0.0, 0)})
    record_times(database, {})

    assert _court(database, "8.26")["request_s"] > 0
    assert factories.execute(database, "SELECT FROM courts") == 1


def test_no_measurement_is_lost_when_many_come_together(database: Database) -> None:
    courts = [f"8.{number:02d}" for number in range(10)]
    one_way = dict.fromkeys(courts, (1.0, 1))
    other_way = dict(reversed(one_way.items()))

    run_concurrently([partial(record_times, database, t) for t in [one_way, other_way] * 10])

    assert all(_court(database, court)["measured_requests"] == 20 for court in courts)


def test_the_first_requests_are_recorded_at_once_and_the_others_together(
    database: Database,
) -> None:
    clock = _Clock()
    meter = LatencyRecorder(database, clock=clock)

    meter.measured("8.26", 1.0)
    assert _court(database, "8.26")["measured_requests"] == 1
    for _ in range(9):
        meter.measured("8.26", 1.0)
    assert _court(database, "8.26")["measured_requests"] == 3
    clock.now += INTERVAL_S
    meter.measured("8.26", 1.0)

    assert _court(database, "8.26")["measured_requests"] == 11


def test_threads_that_measure_together_lose_nothing(database: Database) -> None:
    clock = _Clock()
    meter = LatencyRecorder(database, clock=clock)

    run_concurrently([partial(meter.measured, "8.26", 1.0)] * 40)
    clock.now += INTERVAL_S
    meter.measured("8.26", 1.0)

    assert _court(database, "8.26")["measured_requests"] == 41


class _TwoDatabases:
    """The database of a meter: PostgreSQL, unavailable until the test restores it."""

    def __init__(self, here: Database) -> None:
        self._here = here
        self._away = Database(AWAY, max_connections=1)
        self.is_away = True
        self.calls = 0

    @property
    def autocommit(self) -> object:
        self.calls += 1
        return (self._away if self.is_away else self._here).autocommit


def test_without_postgresql_nothing_is_raised_and_nothing_is_lost(database: Database) -> None:
    clock = _Clock()
    switched = _TwoDatabases(database)
    meter = LatencyRecorder(switched, clock=clock)  # type: ignore[arg-type]

    for _ in range(5):
        meter.measured("8.26", 1.0)
    assert switched.calls == 1, "a server that is away must not hold up every request"
    switched.is_away = False
    clock.now += INTERVAL_S
    meter.measured("8.26", 1.0)

    assert _court(database, "8.26")["measured_requests"] == 6
