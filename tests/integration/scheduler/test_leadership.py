"""Test leadership: one scheduler leads; another follows when its lease ends or is released."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import UUID, uuid4

import pytest

from actors.scheduler.leadership import Leadership
from dev.processes.deadline import until
from storage.postgres.database import Database
from storage.scheduling import process_rows
from tests.integration.harness import factories

WAIT_S = 60.0
Start = Callable[[], Leadership]


@pytest.fixture
def start(database: Database) -> Iterator[Start]:
    """Yield a function that starts a scheduler's leadership; the fixture ends each."""
    started: list[Leadership] = []

    def start() -> Leadership:
        leadership = Leadership(database, lambda: True)
        started.append(leadership)
        leadership.start()
        return leadership

    yield start
    for leadership in started:
        leadership.stop()


def _await_term(leadership: Leadership) -> UUID:
    until(lambda: leadership.term is not None, WAIT_S, "It does not lead.")
    term = leadership.term
    assert term
    return term


def test_of_several_schedulers_one_leads(database: Database, start: Start) -> None:
    schedulers = [start() for _ in range(3)]

    until(lambda: any(each.term for each in schedulers), WAIT_S, "No scheduler leads.")

    # However often the others try.
    assert not any(process_rows.lead(database, uuid4(), sends=True) for _ in range(20))
    assert sum(each.term is not None for each in schedulers) == 1


def test_a_lease_from_before_the_database_s_clock_went_back_holds_no_scheduler_up(
    database: Database,
) -> None:
    assert process_rows.lead(database, uuid4(), sends=True)
    assert not process_rows.lead(database, uuid4(), sends=True)

    factories.execute(database, "UPDATE leader SET lease_until = lease_until + interval '1 hour'")

    assert process_rows.lead(database, uuid4(), sends=True)


def test_a_leader_that_ends_is_followed_at_once(database: Database) -> None:
    first, second = (Leadership(database, lambda: True) for _ in range(2))
    first.start()
    _await_term(first)

    first.stop()

    assert first.term is None
    assert process_rows.lead(database, uuid4(), sends=True), "its lease was not given up"
    assert second.term is None


def test_a_leader_that_is_gone_is_followed(database: Database, start: Start) -> None:
    gone = uuid4()
    assert process_rows.lead(database, gone, sends=True)
    standby = start()
    assert not process_rows.lead(database, uuid4(), sends=True)

    term = _await_term(standby)

    assert term != gone
    assert not process_rows.lead(database, gone, sends=True)


def test_a_leader_that_cannot_renew_leads_no_more_until_it_can(
    database: Database, database_url: str, start: Start
) -> None:
    scheduler = start()
    _await_term(scheduler)

    with (
        closing(Database(database_url, max_connections=1)) as other,
        other.transaction() as transaction,
    ):
        transaction.all("SELECT FROM leader FOR UPDATE")
        until(lambda: scheduler.term is None, WAIT_S, "It leads on.")

    _await_term(scheduler)


def test_whether_the_leader_can_send_is_recorded_with_each_renewal(database: Database) -> None:
    one = uuid4()
    assert process_rows.lead(database, one, sends=True)
    factories.execute(database, "UPDATE leader SET sends_time = sends_time - interval '9 s'")

    assert process_rows.lead(database, one, sends=False)
    assert _sent_long_ago(database)
    assert process_rows.lead(database, one, sends=True)

    assert not _sent_long_ago(database)


def _sent_long_ago(database: Database) -> bool:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT sends_time < clock_timestamp() - interval '8 s' AS is_old FROM leader"
        )
    return bool(row["is_old"])
