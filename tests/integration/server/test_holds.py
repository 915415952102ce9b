"""Test holds of running jobs, read from rows; one reading serves many callers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from dev.processes.deadline import until
from storage.health.holds import REFRESH_S, Hold, Holds
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import LOGIN

COURT = "8.26"
PATIENCE_S = 60.0
AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


class _Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _hold(database: Database, job_id: UUID) -> Hold | None:
    return Holds(database, LOGIN).of({job_id: COURT}).get(job_id)


def _pause(database: Database, seconds: float) -> None:
    factories.execute(
        database,
        "UPDATE portal SET paused_until = clock_timestamp() + %(s)s * interval '1 second'",
        s=seconds,
    )


def _court_away(database: Database, court: str, *, probe_in_s: float) -> None:
    factories.execute(
        database,
        "INSERT INTO courts (court, next_probe_time)"
        " VALUES (%(court)s, clock_timestamp() + %(probe)s * interval '1 second')"
        " ON CONFLICT (court) DO UPDATE SET next_probe_time = excluded.next_probe_time",
        court=court,
        probe=probe_in_s,
    )


def _refused(database: Database, seconds: float) -> None:
    factories.execute(
        database,
        "INSERT INTO logins (login_key, refused_fingerprint, refused_reason, refused_until)"
        " VALUES (%(key)s, %(print)s, 'no', clock_timestamp() + %(s)s * interval '1 second')",
        key=LOGIN.key,
        print=LOGIN.fingerprint,
        s=seconds,
    )


def _store_refused(database: Database) -> None:
    factories.execute(
        database,
        "INSERT INTO service_refusals (part, operation, code, answer, since_time, see_time)"
        " VALUES ('S3', 'PUT', 'AccessDenied', 'no', clock_timestamp(), clock_timestamp())",
    )


def _is_waiting(database: Database) -> bool:
    with database.autocommit() as transaction:
        return bool(
            transaction.all(
                "SELECT FROM pg_locks WHERE NOT granted AND relation = 'portal'::regclass"
            )
        )


def test_a_pause_of_the_portal_holds_every_job(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    _pause(database, 300)

    hold = _hold(database, job_id)

    assert hold is not None
    assert hold.reason == "PORTAL_PAUSED"
    assert hold.until_time is not None
    assert timedelta(0) < hold.until_time - datetime.now(UTC) <= timedelta(seconds=300)


def test_what_is_over_holds_no_job(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    _pause(database, -1)
    _refused(database, -1)

    assert _hold(database, job_id) is None


def test_a_court_that_is_away_holds_its_own_jobs_only(database: Database) -> None:
    away, here = (
        factories.listed_job(database, 3, factories.request(number))
        for number in ("0000001-11.2025.4.03.0100", "0000001-11.2025.8.26.0100")
    )
    _court_away(database, "4.03", probe_in_s=300)

    holds = Holds(database, LOGIN).of({away: "4.03", here: "8.26"})

    assert (holds[away].reason, here in holds) == ("COURT_AWAY", False)
    assert "4.03" in holds[away].message


def test_a_probe_that_is_due_is_not_shown_as_past(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    begun = datetime.now(UTC)
    _court_away(database, COURT, probe_in_s=-60)

    hold = _hold(database, job_id)

    assert hold is not None
    assert hold.until_time is not None
    assert hold.until_time >= begun


def test_refused_credentials_hold_every_job_and_are_shown_first(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    _pause(database, 300)
    _court_away(database, COURT, probe_in_s=300)
    _refused(database, 900)

    hold = _hold(database, job_id)

    assert hold is not None
    assert hold.reason == "CREDENTIALS_REFUSED"


def test_what_requests_nothing_of_the_portal_is_not_held_by_it(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    factories.upload(database, factories.claimed(database, job_id))
    _pause(database, 300)
    _refused(database, 900)
    _court_away(database, COURT, probe_in_s=300)

    assert _hold(database, job_id) is None


def test_what_requests_nothing_of_the_portal_is_held_by_the_bucket(database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    factories.upload(database, factories.claimed(database, job_id))
    _refused(database, 900)
    _store_refused(database)

    hold = _hold(database, job_id)

    assert hold is not None
    assert hold.reason == "STORE_REFUSED"


def test_a_job_that_is_not_listed_is_held(database: Database) -> None:
    view, _ = factories.start(database)
    _pause(database, 300)

    assert _hold(database, view.job.job_id) is not None


# One reading for many.


def test_one_reading_serves_all_calls_of_the_next_seconds(database: Database) -> None:
    clock = _Clock()
    holds = Holds(database, LOGIN, clock=clock)
    job_id = factories.listed_job(database, 3)
    assert holds.of({job_id: COURT}) == {}
    _pause(database, 300)

    assert holds.of({job_id: COURT}) == {}
    clock.now += REFRESH_S
    assert holds.of({job_id: COURT})[job_id].reason == "PORTAL_PAUSED"


def test_many_calls_at_once_get_the_same_answer(database: Database) -> None:
    job_ids = [factories.listed_job(database, 3) for _ in range(5)]
    _pause(database, 300)
    holds = Holds(database, LOGIN)

    answers = run_concurrently([partial(holds.of, dict.fromkeys(job_ids, COURT))] * 20)

    assert all(answer == answers[0] for answer in answers)
    assert answers[0].keys() == set(job_ids)


@pytest.mark.parametrize("has_read", [True, False])
def test_a_call_waits_for_a_reading_under_way_only_if_nothing_was_read_before(
    database: Database, has_read: bool
) -> None:
    clock = _Clock()
    holds = Holds(database, LOGIN, clock=clock)
    job_id = factories.listed_job(database, 3)
    if has_read:
        holds.of({job_id: COURT})
    _pause(database, 300)
    clock.now += REFRESH_S
    with database.autocommit() as transaction, ThreadPoolExecutor(2) as pool:
        transaction.run("BEGIN")
        transaction.run("LOCK TABLE portal IN ACCESS EXCLUSIVE MODE")
        reading = pool.submit(holds.of, {job_id: COURT})
        until(lambda: _is_waiting(database), PATIENCE_S, "No reading waits.")
        asking = pool.submit(holds.of, {job_id: COURT})
        done, _ = wait([asking], timeout=PATIENCE_S if has_read else 0.1)
        transaction.run("ROLLBACK")
        assert reading.result(PATIENCE_S) != {}
        assert asking.result(PATIENCE_S) == ({} if has_read else reading.result())

    assert bool(done) == has_read


def test_without_postgresql_no_job_is_held_and_nothing_breaks() -> None:
    clock = _Clock()
    holds = Holds(Database(AWAY, max_connections=1), LOGIN, clock=clock)

    assert holds.of({uuid4(): COURT}) == {}
