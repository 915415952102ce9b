"""Test that everything works through a pooler that gives each transaction another session."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from dev.processes.deadline import until
from storage import sql
from storage.errors import ServiceUnavailable
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.spool import Spool
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database
from tests.integration.harness import factories, pipeline_harness
from tests.pooling.pooler import Pooler

DEADLINE_S = 60.0
# A function called by another one runs with the settings of its caller.
CALLED = {callee for name in sql.function_names() for callee in sql.called_functions(name)}
HOT = {
    *(sql.function(name).name for name in sql.function_names() if name not in CALLED),
}


@pytest.fixture
def pooler(direct_url: str) -> Iterator[Pooler]:
    """Run a pooler before the suite's PostgreSQL; it ends before the test's database does."""
    with Pooler(direct_url) as running:
        yield running


@pytest.fixture
def pooled_url(pooler: Pooler, direct_url: str) -> str:
    """Return the URL of the test's database through the pooler."""
    return pooler.url(direct_url)


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[Database]:
    """Yield the test's database through the pooler."""
    with closing(Database(pooled_url, max_connections=8)) as database:
        yield database


@pytest.fixture
def direct(direct_url: str) -> Iterator[Database]:
    """Yield the test's database without the pooler."""
    with closing(Database(direct_url, max_connections=1)) as database:
        yield database


def _rows(connection: psycopg2.extensions.connection, sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def test_the_pooler_gives_each_transaction_another_session_and_discards_what_it_left(
    pooler: Pooler, pooled_url: str
) -> None:
    with closing(psycopg2.connect(pooled_url)) as connection:
        connection.autocommit = True
        first = _rows(connection, "SELECT pg_backend_pid(), pg_advisory_lock(7)")
        _rows(connection, "SET statement_timeout = '7s'")
        _rows(connection, "PREPARE seven AS SELECT 7")
        _rows(connection, "CREATE TEMP TABLE seven ()")
        _rows(connection, "LISTEN seven")
        second = _rows(connection, "SELECT pg_backend_pid(), NULL")
        seen = _rows(
            connection,
            "SELECT (SELECT count(*) FROM pg_locks WHERE objid = 7 AND locktype = 'advisory'),"
            " to_regclass('seven')",
        )
        connection.autocommit = False
        inside = [_rows(connection, "SELECT pg_backend_pid()") for _ in range(2)]
        connection.commit()

    assert first[0][0] != second[0][0]
    assert inside[0] == inside[1]
    assert seen == [(0, None)]
    found = sorted(pooler.left)
    assert found == [
        "channel seven",
        "lock 7",
        "setting statement_timeout",
        "statement seven",
        "table seven",
    ]


def test_the_pooler_refuses_options_at_the_start(pooled_url: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="unsupported startup parameter: options"):
        psycopg2.connect(pooled_url, options="-c jit=off")


def _release(url: str, servers: EmbeddedServers) -> subprocess.Popen[bytes]:
    env = {
        **servers.env,
        "DATABASE_URL": url,
        "S3_BUCKET": "pooled-releases",
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
    }
    command = [sys.executable, "-m", "storage.release"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_releases_through_the_pooler_leave_nothing_and_hold_up_no_later_one(
    servers: EmbeddedServers, pooler: Pooler
) -> None:
    server_url = servers.env["DATABASE_URL"]
    released_url = create_database(server_url, "pooled_releases")
    url = pooler.url(released_url)

    running = [_release(url, servers) for _ in range(2)]
    outputs = [process.communicate(timeout=DEADLINE_S)[0].decode() for process in running]
    # Sessions older than the first release lack its settings.
    pooler.reconnect()
    later = _release(url, servers)
    outputs.append(later.communicate(timeout=DEADLINE_S)[0].decode())

    assert [process.returncode for process in (*running, later)] == [0, 0, 0], outputs
    assert "sessions lack settings" not in outputs[-1]
    assert pooler.left == []
    with closing(psycopg2.connect(released_url)) as connection:
        locks = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        found = _rows(
            connection,
            f"{locks} WHERE locktype = 'advisory' AND datname = current_database()",
        )
        assert found == [(0,)]
        assert _rows(connection, "SHOW jit") == [("off",)]


def test_a_job_goes_from_its_start_to_its_end(
    pooler: Pooler, pooled: Database, objects: Objects, redis_url: str, spool: Spool
) -> None:
    with pipeline_harness.running_pipeline(pooled, objects, redis_url, spool) as here:
        number = here.sandbox.add_case(documents=7)
        job_id = here.run(number)
        assert here.requested_files(number) == [1] * 7

    assert factories.job(pooled, job_id)["state"] == "COMPLETED"
    assert pooler.left == []


def test_a_cancelled_case_starts_afresh(
    pooler: Pooler, pooled: Database, objects: Objects, redis_url: str, spool: Spool
) -> None:
    with pipeline_harness.running_pipeline(pooled, objects, redis_url, spool) as here:
        number = here.sandbox.add_case(documents=3)
        job_id = here.begin(number)
        here.list_job(job_id)
        here.download(job_id)
        job_queries.cancel(pooled, factories.CLIENT, job_id)
        assert factories.job(pooled, job_id)["state"] == "CANCELLED"
        job_id = here.run(number)

    assert factories.job(pooled, job_id)["state"] == "COMPLETED"
    assert pooler.left == []


def test_nothing_is_compiled_in_a_hot_function_whatever_the_role_sets(
    pooled: Database, direct_url: str
) -> None:
    url = f"{direct_url}&options=-c%20jit%3Don"
    with (
        closing(Database(url, max_connections=1)) as other,
        other.autocommit() as transaction,
    ):
        rows = transaction.all(
            "SELECT proname FROM pg_proc WHERE proname = ANY(%(names)s)"
            " AND 'jit=off' = ANY(proconfig)",
            names=list(HOT),
        )
        transaction_jit = transaction.only("SELECT current_setting('jit') AS jit")
    assert {row["proname"] for row in rows} == HOT
    # The operator chose the URL's own options.
    assert transaction_jit == {"jit": "on"}


def test_every_session_has_what_it_needs(pooled: Database) -> None:
    with pooled.autocommit() as transaction:
        found = transaction.only(
            "SELECT current_setting('jit') AS jit, current_setting('statement_timeout') AS most,"
            " current_setting('idle_in_transaction_session_timeout') AS idle"
        )
    assert found == {"jit": "off", "most": "1min", "idle": "10s"}
    assert session_settings.missing(pooled) == []


def _freeze(pooled: Database, direct: Database) -> None:
    with pooled.transaction() as transaction:
        pid = transaction.only("SELECT pg_backend_pid() AS pid")["pid"]

        def is_gone() -> bool:
            with direct.autocommit() as looking:
                return not looking.all("SELECT FROM pg_stat_activity WHERE pid = %(p)s", p=pid)

        until(is_gone, DEADLINE_S, "The session does not end.")
        transaction.all("SELECT 1")


def test_a_frozen_transaction_is_ended_and_its_connection_replaced(
    pooled: Database, direct: Database, direct_url: str
) -> None:
    name = direct_url.rpartition("?")[0].rpartition("/")[2]
    alter = f"ALTER ROLE postgres IN DATABASE {name} SET idle_in_transaction_session_timeout"
    with direct.raw() as db:
        db.execute_sql(f"{alter} = '50ms'")
    try:
        with pytest.raises(ServiceUnavailable):
            _freeze(pooled, direct)
    finally:
        with direct.raw() as db:
            db.execute_sql(f"{alter} = '10s'")
    with pooled.transaction() as transaction:
        assert transaction.only("SELECT 1 AS one") == {"one": 1}
