"""Test that gauges follow the rows, and that a scrape is answered even without PostgreSQL."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

from dev.processes.deadline import until
from server.observability.parts_up import LOOK_S
from server.observability.row_metrics import RowMetrics
from storage.errors import PermanentError, TooFast
from storage.estimates.request_times import record_times
from storage.health import gauges
from storage.health.gauges import Gauges
from storage.jobs import job_queries
from storage.login import login_blocks
from storage.login.login_values import Login
from storage.objects import installation
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.factories import CLIENT, LOGIN
from tests.integration.harness.scheduler_driver import LIMITS

AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


def _read(database: Database, login: Login = LOGIN) -> Gauges:
    return gauges.read(database, LIMITS, login)


def _samples(metrics: RowMetrics) -> dict[str, float]:
    """Return the value of every sample, by name and labels."""
    return {
        f"{sample.name}{''.join(sample.labels.values())}": sample.value
        for family in metrics.collect()
        for sample in family.samples
    }


def _age(database: Database, job_id: UUID, column: str, seconds: float) -> None:
    factories.execute(
        database,
        f"UPDATE jobs SET {column} = clock_timestamp() - %(s)s * interval '1 second'"
        " WHERE job_id = %(id)s",
        s=seconds,
        id=job_id,
    )


def test_empty_tables_give_empty_gauges(database: Database) -> None:
    assert _read(database) == Gauges(
        is_login_refused=False,
        paused_s=0.0,
        at_once=10,
        requests={},
        courts_away={},
        request_s={},
        jobs={"PENDING": 0, "PROCESSING": 0},
        jobs_waiting=0,
        jobs_over_budget=0,
        oldest_s=0.0,
        documents={"PENDING": 0, "DOWNLOADING": 0, "DOWNLOADED": 0},
        webhooks_due=0,
        webhook_oldest_s=0.0,
        spools_in_trouble=0,
        # No release has made its row.
        is_bucket_in_trouble=True,
        is_store_refused=False,
        is_portal_untrusted=False,
    )


def test_a_rejected_login_is_shown_until_its_time_is_over_or_it_changes(database: Database) -> None:
    assert login_blocks.block_if_rejected(database, LOGIN, "The portal refuses the token.")
    assert _read(database).is_login_refused
    assert not _read(database, Login(LOGIN.key, "another")).is_login_refused

    factories.execute(database, "UPDATE logins SET refused_until = clock_timestamp()")
    assert not _read(database).is_login_refused


def test_a_pause_is_shown_with_its_rest_and_the_slow_start_after(
    database: Database,
) -> None:
    job_id = scheduler_driver.job(database, 1)
    [claim] = scheduler_driver.ask_all(database, scheduler_driver.context())
    scheduler_driver.refuse(
        database, claim, TooFast("The portal asks for a pause.", retry_after_s=300)
    )
    assert _read(database).paused_s > 0

    factories.age_portal(database, 600)
    assert _read(database).paused_s == 0
    assert _read(database).at_once == 1

    job_queries.cancel(database, CLIENT, job_id)
    factories.execute(database, "UPDATE portal SET eased = 3.7")
    assert _read(database).at_once == 3
    factories.execute(database, "UPDATE portal SET eased = NULL")
    assert gauges.read(database, Limits(25, 6, 5), LOGIN).at_once == 25


def test_requests_are_shown_by_court_while_their_slots_are_held(database: Database) -> None:
    scheduler_driver.job(database, 2, court="8.26")
    scheduler_driver.job(database, 1, court="8.19")
    held = scheduler_driver.ask_all(database, scheduler_driver.context())
    assert _read(database).requests == {"8.26": 2, "8.19": 1}

    scheduler_driver.answer(database, held[0])
    assert sum(_read(database).requests.values()) == 2

    # The slot of a killed worker.
    factories.execute(
        database, "UPDATE slots SET lease_until = clock_timestamp() WHERE lease IS NOT NULL"
    )
    assert _read(database).requests == {"8.26": 0, "8.19": 0}


def test_a_court_is_shown_with_its_time_and_its_circuit(database: Database) -> None:
    record_times(database, {"8.26": (6.0, 2)})
    factories.execute(
        database,
        "INSERT INTO courts (court, next_probe_time) VALUES ('8.19', clock_timestamp())",
    )

    seen = _read(database)

    assert seen.courts_away == {"8.26": False, "8.19": True}
    # 8.19 was never measured.
    assert seen.request_s == {"8.26": 3.0}


def test_running_jobs_are_counted_by_state_and_ended_ones_are_not(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=factories.HOOK))
    listed = factories.listed_job(database, 1)
    assert _read(database).jobs == {"PENDING": 1, "PROCESSING": 1}

    job_queries.cancel(database, CLIENT, view.job.job_id)
    factories.store_next(database, listed)
    assert _read(database).jobs == {"PENDING": 0, "PROCESSING": 0}


def test_a_job_waits_while_it_has_documents_to_request_and_no_request(database: Database) -> None:
    job_id = factories.listed_job(database, 2)
    assert _read(database).jobs_waiting == 1

    first = factories.claimed(database, job_id, spool_id=factories.living_spool(database))
    assert _read(database).jobs_waiting == 0

    # The second document is not requested yet.
    factories.spooled(database, first, factories.PDF)
    assert _read(database).jobs_waiting == 1

    # The uploader does the rest.
    second = factories.claimed(database, job_id, spool_id=factories.living_spool(database))
    factories.spooled(database, second, factories.PDF)
    assert _read(database).jobs["PROCESSING"] == 1
    assert _read(database).jobs_waiting == 0


def test_a_job_waits_until_its_listing_is_under_way(database: Database) -> None:
    view, _ = factories.start(database)
    assert _read(database).jobs_waiting == 1

    factories.listing_claim(database, view.job.job_id)
    assert _read(database).jobs_waiting == 0

    # The lease of a killed worker.
    _age(database, view.job.job_id, "listing_lease_until", 1)
    assert _read(database).jobs_waiting == 1


def test_the_oldest_is_the_one_that_waits_longest_since_its_run_began(
    database: Database, objects: Objects
) -> None:
    old, older = factories.listed_job(database, 1), factories.listed_job(database, 1)
    _age(database, old, "create_time", 50_000)
    _age(database, older, "create_time", 90_000)
    assert 90_000 <= _read(database).oldest_s < 130_000

    held = factories.claimed(database, older)
    assert 50_000 <= _read(database).oldest_s < 90_000

    # RetryJob starts a run of its own.
    attempts.fail_attempt(database, held, PermanentError("NO_ACCESS", "No."), factories.POLICY)
    factories.rerun(database, objects, older)
    job_queries.cancel(database, CLIENT, old)
    assert _read(database).oldest_s < 50_000


def test_documents_of_running_jobs_are_counted_by_state(database: Database) -> None:
    job_id = factories.listed_job(database, 4)
    assert _read(database).documents == {"PENDING": 4, "DOWNLOADING": 0, "DOWNLOADED": 0}

    spool_id = factories.living_spool(database)
    factories.spooled(
        database, factories.claimed(database, job_id, spool_id=spool_id), factories.PDF
    )
    factories.claimed(database, job_id, spool_id=spool_id)
    assert _read(database).documents == {"PENDING": 2, "DOWNLOADING": 1, "DOWNLOADED": 1}

    job_queries.cancel(database, CLIENT, job_id)
    assert set(_read(database).documents.values()) == {0}


def test_due_webhooks_are_shown_with_the_age_of_the_oldest(database: Database) -> None:
    for _ in range(2):
        view, _ = factories.start(database, factories.request(webhook_url=factories.HOOK))
        job_queries.cancel(database, CLIENT, view.job.job_id)
    assert _read(database).webhooks_due == 2
    factories.execute(
        database,
        "UPDATE webhooks SET next_attempt_time = clock_timestamp()"
        " - 70000 * interval '1 second' WHERE job_id = %(id)s",
        id=view.job.job_id,
    )
    assert 70_000 <= _read(database).webhook_oldest_s < 90_000

    factories.execute(
        database, "UPDATE webhooks SET next_attempt_time = clock_timestamp() + interval '1 day'"
    )
    assert (_read(database).webhooks_due, _read(database).webhook_oldest_s) == (0, 0)


def test_a_living_spool_without_room_is_shown(database: Database) -> None:
    reconciliation.record_heartbeat(database, uuid4(), "")
    reconciliation.record_heartbeat(database, uuid4(), "The disk of the spool is full.")
    assert _read(database).spools_in_trouble == 1

    factories.execute(database, "UPDATE spools SET heartbeat_time = '2000-01-01'")
    assert _read(database).spools_in_trouble == 0


def test_a_scrape_returns_every_gauge(database: Database) -> None:
    scheduler_driver.job(database, 2)
    scheduler_driver.ask_all(database, scheduler_driver.context())
    record_times(database, {"8.26": (6.0, 2)})
    reconciliation.record_heartbeat(database, uuid4(), "The disk of the spool is full.")
    login_blocks.block_if_rejected(database, LOGIN, "The portal refuses the token.")
    end = datetime.now(UTC) + timedelta(days=1)
    factories.execute(database, "UPDATE portal SET paused_until = %(end)s", end=end)

    with closing(RowMetrics(partial(_read, database))) as metrics:
        scraped = _samples(metrics)

    assert 80_000 < scraped.pop("autos_portal_paused_seconds") <= 86_400
    assert scraped == {
        "autos_database_up": 1,
        "autos_portal_login_refused": 1,
        "autos_portal_limit": 10,
        "autos_portal_requests8.26": 2,
        "autos_court_away8.26": 0,
        "autos_court_request_seconds8.26": 3.0,
        "autos_jobsPENDING": 0,
        "autos_jobsPROCESSING": 1,
        "autos_jobs_waiting": 0,
        "autos_jobs_over_budget": 0,
        "autos_queue_oldest_seconds": 0,
        "autos_documentsPENDING": 0,
        "autos_documentsDOWNLOADING": 2,
        "autos_documentsDOWNLOADED": 0,
        "autos_webhooks_due": 0,
        "autos_webhook_oldest_seconds": 0,
        "autos_spools_in_trouble": 1,
        # No release has made its row.
        "autos_bucket_in_trouble": 1,
        "autos_store_refused": 0,
        "autos_portal_untrusted": 0,
    }


def test_a_bucket_in_trouble_is_shown_until_it_is_over(database: Database) -> None:
    installation.ensure(database)
    assert not _read(database).is_bucket_in_trouble

    for trouble in ("bucket_trouble", "sweep_trouble"):
        factories.execute(database, f"UPDATE installation SET {trouble} = 'Too many.'")
        assert _read(database).is_bucket_in_trouble
        factories.execute(database, f"UPDATE installation SET {trouble} = ''")
    assert not _read(database).is_bucket_in_trouble


def test_without_postgresql_a_scrape_reports_that_and_nothing_else() -> None:
    with (
        closing(Database(AWAY, max_connections=1)) as away,
        closing(RowMetrics(partial(_read, away))) as metrics,
    ):
        assert _samples(metrics) == {"autos_database_up": 0}


def test_a_scrape_does_not_wait_for_a_silent_postgresql(database: Database) -> None:
    with closing(RowMetrics(partial(_read, database))) as metrics:
        with database.transaction() as transaction:
            transaction.run("LOCK TABLE portal IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            for _ in range(2):
                assert _samples(metrics) == {"autos_database_up": 0}
            # Far below the limit for a statement, which is a minute.
            assert time.monotonic() - began < 30

        until(lambda: _samples(metrics)["autos_database_up"] == 1, 60, "it is not noticed")


def test_scrapes_of_one_moment_share_a_reading(database: Database) -> None:
    now, looks = [1_000.0], []

    def look() -> Gauges:
        looks.append(now[0])
        return _read(database)

    with closing(RowMetrics(look, clock=lambda: now[0])) as metrics:
        for now[0] in (1_000.0, 1_000.0 + LOOK_S / 2, 1_000.0 + LOOK_S):
            until(lambda: _samples(metrics)["autos_database_up"] == 1, 60, "never looked at")

    assert looks == [1_000.0, 1_000.0 + LOOK_S]
