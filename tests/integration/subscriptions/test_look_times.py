"""When looks begin: spread, not made up for, and not while the portal or the court is away."""

from __future__ import annotations

from datetime import datetime

from storage.postgres.database import Database
from storage.subscriptions import looks
from tests.integration.harness import factories
from tests.integration.subscriptions.watching import (
    jobs,
    let_due,
    start_looks,
    subscription,
    watch,
)

INTERVAL_S = 36_000
CASES = 40


def _now(database: Database) -> datetime:
    with database.transaction() as transaction:
        return transaction.now()


def _delays_s(database: Database) -> list[float]:
    """Return the seconds until each next look."""
    now = _now(database)
    with database.transaction() as transaction:
        rows = transaction.all("SELECT next_time FROM subscriptions")
    return [(row["next_time"] - now).total_seconds() for row in rows]


def _started(database: Database) -> int:
    """Start looks until none is due. Return the number of looks."""
    for _ in range(1 + CASES // looks.BATCH):
        start_looks(database)
    return len(jobs(database))


def test_looks_are_spread_over_the_interval(database: Database) -> None:
    for _ in range(CASES):
        watch(database, factories.process_number(), interval_s=INTERVAL_S)
    assert max(_delays_s(database)) < 60
    let_due(database)

    assert _started(database) == CASES

    # All cases were subscribed at once, and are looked at in all parts of the interval.
    quarters = {int(4 * delay_s / INTERVAL_S) for delay_s in _delays_s(database)}
    assert quarters == {0, 1, 2, 3}


def test_a_look_follows_the_one_before_after_the_interval(database: Database) -> None:
    watch(database, factories.process_number(), interval_s=INTERVAL_S)
    factories.execute(
        database,
        "UPDATE subscriptions SET next_time = now() - interval '10 days',"
        ' baseline = \'{"documents": {}, "movements": []}\'',
    )

    assert _started(database) == 1

    # Ten days are missed and not made up for.
    [delay_s] = _delays_s(database)
    assert INTERVAL_S * 0.9 < delay_s < INTERVAL_S * 1.06
    assert start_looks(database) == [jobs(database)[0]["job_id"]]


def test_a_call_starts_a_limited_number_of_looks(database: Database) -> None:
    for _ in range(looks.BATCH + 1):
        watch(database, factories.process_number())
    let_due(database)

    assert len(start_looks(database)) == looks.BATCH


def _paused(database: Database, statement: str) -> bool:
    """Return whether a due look waits, soon to be tried again, after this change of a row."""
    watch(database, factories.process_number())
    factories.execute(database, statement)
    let_due(database)
    begun = len(start_looks(database))
    [delay_s] = _delays_s(database)
    return begun == 0 and 0 < delay_s < 2 * looks.POSTPONED_S + 1


def test_no_look_begins_while_the_portal_is_paused(database: Database) -> None:
    assert _paused(database, "UPDATE portal SET paused_until = now() + interval '1 hour'")


def test_a_pause_of_another_client_does_not_concern_a_look(database: Database) -> None:
    assert not _paused(
        database,
        "UPDATE portal SET paused_until = now() + interval '1 hour', paused_client = 'other'",
    )


def test_no_look_begins_while_the_budget_is_used_up(database: Database) -> None:
    factories.start(database)
    assert _paused(database, "UPDATE jobs SET budget_wait_time = now(), budget_scope = ''")


def test_no_look_begins_while_the_court_is_away(database: Database) -> None:
    assert _paused(database, "INSERT INTO courts (court, next_probe_time) VALUES ('8.26', now())")
    # The cases of other courts are looked at.
    factories.execute(database, "UPDATE courts SET court = '5.02'")
    let_due(database)
    assert len(start_looks(database)) == 1


def test_no_look_begins_while_the_login_is_refused_for_its_client(database: Database) -> None:
    refused = (
        "INSERT INTO logins (login_key, refused_until, refused_fingerprint, refused_reason,"
        " refused_client) VALUES ('a', now() + interval '1 hour', 'b', 'c', 'default')"
    )
    assert _paused(database, refused)
    factories.execute(database, "UPDATE logins SET refused_client = 'other'")
    let_due(database)
    assert len(start_looks(database)) == 1


def test_looks_that_wait_for_a_court_do_not_stop_those_at_other_courts(database: Database) -> None:
    watch(database, factories.process_number())
    let_due(database)
    assert len(start_looks(database)) == 1
    # As many as may be under way at once.
    factories.execute(
        database,
        "INSERT INTO jobs (job_id, client, process_number, state, max_age_s, start_time,"
        " deadline_time, is_look) SELECT gen_random_uuid(), client,"
        " (8000000 + n)::text || '-11.2025.8.26.0100', state, 0, start_time, deadline_time, true"
        f" FROM jobs, generate_series(1, {looks.MOST_LOOKS}) AS n",
    )
    watch(database, factories.process_number().replace("8.26", "5.02"))
    let_due(database)
    known = len(start_looks(database))
    assert known == looks.MOST_LOOKS + 1

    factories.execute(
        database, "INSERT INTO courts (court, next_probe_time) VALUES ('8.26', now())"
    )

    assert len(start_looks(database)) == known + 1


def test_two_schedulers_start_one_look(database: Database) -> None:
    watch(database, factories.process_number())
    let_due(database)

    assert len(start_looks(database)) == len(start_looks(database)) == 1
    assert subscription(database)["next_time"] > _now(database)
