"""Test the scheduler's readings, the leader's lease, and the heartbeats of workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from storage.portal.request_claims import Slice, claim
from storage.postgres.database import Database
from storage.scheduling import process_rows, scheduler_readings
from storage.scheduling.scheduler_readings import FIRST_KEY
from tests.integration.harness import factories
from tests.integration.portal.test_request_claims import CONTEXT, COURT, quick_court, small_case


def test_a_listed_job_is_read_with_its_documents_slices_and_lanes(database: Database) -> None:
    quick_court(database)
    job_id = factories.listed_job(database, small_case(10))
    slice_ = claim(database, CONTEXT, job_id, 4)
    assert isinstance(slice_, Slice)
    factories.execute(
        database,
        "UPDATE documents SET state = 'DOWNLOADED', sha256 = repeat('0', 64), size_bytes = 1,"
        " content_type = 'x', extension = 'x', lease_until = NULL, spool_id = %(spool)s"
        " WHERE position = 0",
        spool=uuid4(),
    )
    for position, seconds in ((7, -1), (8, 60)):
        factories.execute(
            database,
            "UPDATE documents SET not_before = clock_timestamp() + %(s)s * interval '1 second'"
            " WHERE position = %(p)s",
            s=seconds,
            p=position,
        )

    (row,) = scheduler_readings.read_jobs(database, after=FIRST_KEY)

    assert row["job_id"] == job_id
    assert not row["needs_listing"]
    assert (row["fresh"], row["due"], row["documents_left"]) == (4, 1, 9)
    assert row["slices"] == [slice_.token]
    assert row["spooled"] == [factories.documents(database, job_id)[0]["document_id"]]
    assert 50 < row["next_not_before"] - datetime.now(UTC).timestamp() < 70


def test_a_job_that_is_not_listed_is_read_with_its_lease_and_its_case(database: Database) -> None:
    number = factories.process_number()
    mine, _ = factories.start(database, factories.request(number, max_age_s=0))
    other, _ = factories.start(database, factories.request(number, client="other", max_age_s=0))
    lease = claim(database, CONTEXT, mine.job.job_id)
    assert not isinstance(lease, Slice)

    rows = {row["job_id"]: row for row in scheduler_readings.read_jobs(database, after=FIRST_KEY)}

    assert len(rows[mine.job.job_id]["slices"]) == 1
    assert not rows[mine.job.job_id]["is_listed_by_another"]
    assert rows[other.job.job_id]["is_listed_by_another"]
    assert rows[other.job.job_id]["needs_listing"]
    assert rows[other.job.job_id]["documents_left"] is None


def test_portions_go_through_all_running_jobs_by_key(database: Database) -> None:
    jobs = sorted(factories.start(database)[0].job.job_id for _ in range(5))
    seen: list[UUID] = []
    after = FIRST_KEY
    while rows := scheduler_readings.read_jobs(database, after=after, limit=2):
        seen += [row["job_id"] for row in rows]
        after = rows[-1]["job_id"]

    assert seen == jobs


def test_runs_that_began_lately_are_read_apart(database: Database) -> None:
    old = factories.start(database)[0].job.job_id
    factories.age(database, old, 120)
    new = factories.start(database)[0].job.job_id

    since = datetime.now(UTC) - timedelta(seconds=60)
    rows = scheduler_readings.read_recent_jobs(database, since=since)

    assert [row["job_id"] for row in rows] == [new]


def test_slots_courts_and_workers_are_read_with_the_portal(database: Database) -> None:
    job_id = factories.listed_job(database, 3)
    slice_ = claim(database, CONTEXT, job_id)
    assert isinstance(slice_, Slice)
    worker_id = uuid4()
    process_rows.beat(database, worker_id, threads=8, takes_files=True)
    process_rows.beat(database, worker_id, threads=4, takes_files=False)
    stale = uuid4()
    process_rows.beat(database, stale, threads=8, takes_files=True)
    factories.execute(
        database,
        "UPDATE workers SET heartbeat_time = heartbeat_time - interval '1 min'"
        " WHERE worker_id = %(id)s",
        id=stale,
    )
    factories.execute(
        database, "UPDATE portal SET paused_until = clock_timestamp() + interval '9 s', eased = 2.5"
    )

    state = scheduler_readings.read_portal(database, factories.LOGIN)

    assert state.portal["at_once"] == 2
    assert 0 < state.portal["closed_until"] - state.now <= 9
    (slot,) = state.slots
    assert (slot["token"], slot["job_id"], slot["court"]) == (slice_.token, job_id, COURT)
    assert slot["requests"] == 1
    assert state.workers == [{"threads": 4, "takes_files": False}]
    process_rows.leave(database, worker_id)
    assert not scheduler_readings.read_portal(database, factories.LOGIN).workers


def test_a_login_without_an_answer_closes_the_portal_until_the_next(database: Database) -> None:
    factories.execute(
        database,
        "INSERT INTO logins (login_key, failure_count, next_login_time)"
        f" VALUES ('{factories.LOGIN.key}', 1, clock_timestamp() + interval '9 s')",
    )

    state = scheduler_readings.read_portal(database, factories.LOGIN)

    assert 0 < state.portal["closed_until"] - state.now <= 9
    assert state.portal["held_clients"] == []


def test_one_leads_until_its_lease_is_over_or_given_up(database: Database) -> None:
    one, two = uuid4(), uuid4()

    assert process_rows.lead(database, one, sends=True)
    assert not process_rows.lead(database, two, sends=True)
    assert process_rows.lead(database, one, sends=False)
    process_rows.give_up(database, two)
    assert not process_rows.lead(database, two, sends=True)
    process_rows.give_up(database, one)
    assert process_rows.lead(database, two, sends=True)
    factories.execute(
        database, "UPDATE leader SET lease_until = clock_timestamp() - interval '1 s'"
    )
    assert process_rows.lead(database, one, sends=True)
    assert not process_rows.lead(database, two, sends=True)
