"""Test slots: requests at the portal never exceed the limit, over all processes."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from storage.documents.leases import renew_leases
from storage.errors import LeaseLost
from storage.jobs import job_queries
from storage.portal import attempts
from storage.portal.document_claims import DocumentClaim
from storage.portal.request_claims import linger_slots
from storage.portal.slots import RELEASE_DELAY_S
from storage.postgres.database import Database
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT, PDF
from tests.integration.harness.scheduler_driver import COURTS, answer, ask, ask_all, context


def _held(database: Database) -> dict[str, int]:
    with database.transaction() as transaction:
        rows = transaction.all(
            "SELECT scope, count(*) FROM slots WHERE lease_until > clock_timestamp() GROUP BY scope"
        )
    return {row["scope"]: row["count"] for row in rows}


def test_the_portal_gets_no_more_than_its_number_at_once(database: Database) -> None:
    for court in COURTS:
        scheduler_driver.job(database, 5, court=court)

    taken = ask_all(database, context())

    assert len(taken) == 10
    assert _held(database)[""] == 10
    assert ask(database, context()) is None


def test_a_court_gets_no_more_than_its_own_number_and_the_rest_goes_to_others(
    database: Database,
) -> None:
    for _ in range(3):
        scheduler_driver.job(database, 5, court="8.26")
    scheduler_driver.job(database, 4, court="8.19")

    taken = ask_all(database, context())

    assert _held(database) == {"": 10, "8.26": 6, "8.19": 4}
    assert len(taken) == 10


def test_many_concurrent_claims_never_exceed_the_number(database: Database) -> None:
    # Given thirty jobs and twelve threads that claim and record without a pause
    for index in range(30):
        scheduler_driver.job(database, 4, court=COURTS[index % 3])
    peak, now, done = 0, 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal peak, now, done
        while claim := ask(database, context(at_once=7, per_court=4)):
            assert isinstance(claim, DocumentClaim)
            with lock:
                now += 1
                peak = max(peak, now)
            with lock:
                # Counted as the portal counts: before any thread can see its end.
                now -= 1
                done += 1
            answer(database, claim)

    run_concurrently([work] * 12, timeout_s=100)

    assert peak <= 7
    assert done == 120, "a thread stopped although there was work and a free slot"
    assert _held(database) == {}


def test_a_freed_slot_is_taken_by_a_waiting_job(database: Database) -> None:
    scheduler_driver.job(database, 5, court="8.26")
    scheduler_driver.job(database, 5, court="8.19")
    taken = ask_all(database, context(at_once=3))
    assert ask(database, context(at_once=3)) is None

    answer(database, taken[0])

    assert ask(database, context(at_once=3)) is not None
    assert ask(database, context(at_once=3)) is None


def test_a_killed_workers_slots_are_free_when_its_lease_is_over(database: Database) -> None:
    scheduler_driver.job(database, 5)
    assert len(ask_all(database, context(at_once=2))) == 2
    scheduler_driver.job(database, 5)
    assert ask(database, context(at_once=2)) is None

    factories.age_portal(database, 61)

    assert len(ask_all(database, context(at_once=2))) == 2


def test_a_kept_claim_keeps_its_slots(database: Database) -> None:
    scheduler_driver.job(database, 1)
    (claim,) = ask_all(database, context(at_once=1))
    factories.age_portal(database, 50)

    renew_leases(database, [claim.slot_token], lease_s=60)
    factories.age_portal(database, 50)

    scheduler_driver.job(database, 1)
    assert ask(database, context(at_once=1)) is None


def test_what_is_cut_keeps_its_slots_for_a_moment(database: Database) -> None:
    # Given a job that is cancelled during a file's transfer
    job_id = scheduler_driver.job(database, 1)
    (claim,) = ask_all(database, context(at_once=1))
    scheduler_driver.job(database, 1)
    job_queries.cancel(database, CLIENT, job_id)
    assert ask(database, context(at_once=1)) is None, "the request is still at the portal"

    # When its worker has cut the connection, then the portal gets time to notice
    attempts.stop(database, claim)
    assert ask(database, context(at_once=1)) is None
    factories.age_portal(database, RELEASE_DELAY_S + 0.1)
    assert ask(database, context(at_once=1)) is not None


def test_a_smaller_number_waits_until_what_is_there_has_gone(database: Database) -> None:
    for court in COURTS[:4]:
        scheduler_driver.job(database, 5, court=court)
    many = ask_all(database, context(at_once=8))

    assert ask(database, context(at_once=3)) is None
    for claim in many[:5]:
        answer(database, claim)
    assert ask(database, context(at_once=3)) is None
    answer(database, many[5])

    assert ask(database, context(at_once=3)) is not None


def test_lanes_of_a_job_stay_five_whatever_the_number(database: Database) -> None:
    scheduler_driver.job(database, 20)

    assert len(ask_all(database, context(at_once=100, per_court=100))) == 5


def test_many_concurrent_claims_of_one_job_get_its_lanes_and_no_more(database: Database) -> None:
    for _ in range(5):
        job_id = scheduler_driver.job(database, 20)

        by = context(at_once=50, per_court=50)
        found = run_concurrently([partial(ask, database, by)] * 12)
        # A claim that waited too long for the job's row may be repeated.
        found += ask_all(database, by)

        assert sum(task is not None for task in found) == 5
        revisions = [d["revision"] for d in factories.documents(database, job_id)]
        assert len(set(revisions)) == 20, "two changes have one revision"
        job_queries.cancel(database, CLIENT, job_id)


@pytest.mark.parametrize("per_minute", [None, 60_000], ids=["together", "one-at-a-time"])
def test_a_locked_job_delays_no_other(database: Database, per_minute: int | None) -> None:
    busy, other = scheduler_driver.job(database, 5), scheduler_driver.job(database, 5)
    with database.transaction() as transaction:
        transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=busy)

        by = context(per_minute=per_minute)
        (found,) = run_concurrently([partial(ask, database, by)], timeout_s=30)

    assert isinstance(found, DocumentClaim)
    assert found.job_id == other


def test_a_rate_spaces_requests(database: Database) -> None:
    scheduler_driver.job(database, 5)
    by = context(per_minute=60)

    assert ask(database, by) is not None
    assert ask(database, by) is None

    factories.age_portal(database, 1)
    assert ask(database, by) is not None


def test_a_rate_holds_for_all_concurrent_claims(database: Database) -> None:
    for court in COURTS:
        scheduler_driver.job(database, 5, court=court)

    found = run_concurrently([partial(ask, database, context(per_minute=1))] * 8)

    assert sum(task is not None for task in found) == 1


def test_a_late_report_about_anothers_slot_changes_nothing(
    database: Database,
) -> None:
    job_id = scheduler_driver.job(database, 2)
    (claim, _) = ask_all(database, context(at_once=2))
    factories.age(database, job_id, 61)
    factories.age_portal(database, 61)
    attempts.expire(database, claim, factories.DOWNLOADING)
    again = ask_all(database, context(at_once=2))

    with pytest.raises(LeaseLost):
        factories.spooled(database, claim, PDF)
    linger_slots(database, claim.slot_token)

    assert _held(database)[""] == len(again)
