"""Test that migrations run once, even if several processes run them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import psycopg2
import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from storage import sql
from storage.health.release_wait import is_released
from storage.objects import installation
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.postgres.migrate import FOLDER, migrate
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database
from tests.integration.harness.concurrency import run_concurrently

RELEASE = [sys.executable, "-m", "storage.release"]
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))


@pytest.fixture
def empty_url(servers: EmbeddedServers) -> str:
    """Yield the URL of a database without a table."""
    return create_database(servers.env["DATABASE_URL"], "empty")


def _migrate(url: str) -> list[str]:
    database = Database(url, max_connections=1)
    try:
        return migrate(database)
    finally:
        database.close()


def test_a_second_run_does_nothing(empty_url: str) -> None:
    assert _migrate(empty_url) == NAMES
    assert _migrate(empty_url) == []


def test_settings_of_the_database_change_no_definition(empty_url: str) -> None:
    with closing(psycopg2.connect(empty_url)) as connection:
        connection.autocommit = True
        # Each of them changes what a statement means, or ends the migration.
        for setting in (
            "standard_conforming_strings = off",
            "default_transaction_isolation = serializable",
            "DateStyle = 'German'",
            "transform_null_equals = on",
            "exit_on_error = on",
            "session_replication_role = replica",
        ):
            connection.cursor().execute(f"ALTER DATABASE empty SET {setting}")
    _migrate(empty_url)
    with closing(psycopg2.connect(empty_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(pg_get_constraintdef(oid), ' ') FROM pg_constraint")
        ((checks,),) = cursor.fetchall()
    assert r"\d" in checks
    with closing(Database(empty_url, max_connections=1)) as database:
        assert session_settings.missing(database) == []


def test_a_database_is_released_once_it_has_everything_that_this_version_needs(
    empty_url: str,
) -> None:
    with closing(Database(empty_url, max_connections=1)) as database:
        assert not is_released(database)
        migrate(database)
        # Its bucket may be missing.
        assert not is_released(database)
        installation.ensure(database)
        assert is_released(database)
        with database.raw() as db:
            name = sql.function(sql.function_names()[0]).name
            db.execute_sql(f"ALTER FUNCTION {name} RENAME TO of_another_version")
        assert not is_released(database)
        with database.raw() as db:
            db.execute_sql(f"ALTER FUNCTION of_another_version RENAME TO {name}")
        # Also below a later version.
        with database.raw() as db:
            db.execute_sql("INSERT INTO schema_migration (name, applied) VALUES ('9999_z', now())")
        assert is_released(database)
        with database.raw() as db:
            db.execute_sql(f"DELETE FROM schema_migration WHERE name = '{NAMES[-1]}'")
        assert not is_released(database)


def test_eight_at_once_apply_each_migration_once(empty_url: str) -> None:
    applied = run_concurrently([lambda: _migrate(empty_url)] * 8)

    assert sorted(name for names in applied for name in names) == NAMES


def test_a_failed_migration_leaves_nothing_and_frees_the_lock(empty_url: str) -> None:
    # Given an unrelated table that conflicts with the last statements
    with closing(psycopg2.connect(empty_url)) as connection, connection:
        connection.cursor().execute("CREATE TABLE spools ()")

    # When the migration fails
    with pytest.raises(Exception, match="spools"):
        _migrate(empty_url)

    # Then none of its tables exists, and after the repair it succeeds at once
    with closing(psycopg2.connect(empty_url)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('jobs')")
        assert cursor.fetchone() == (None,)
        cursor.execute("DROP TABLE spools")
    assert _migrate(empty_url) == NAMES


def _release_env(servers: EmbeddedServers, url: str) -> dict[str, str]:
    return {
        **servers.env,
        "DATABASE_URL": url,
        "S3_BUCKET": "releases",
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
    }


@pytest.mark.parametrize("history", [("0001_initial", "0006_lean"), ("0001_tables",)])
def test_a_database_of_an_earlier_edition_is_refused_as_it_is(
    servers: EmbeddedServers, empty_url: str, history: tuple[str, ...]
) -> None:
    # Given the history of migrations that an earlier edition left, with one of its tables
    with closing(psycopg2.connect(empty_url)) as connection, connection:
        connection.cursor().execute(
            "CREATE TABLE schema_migration (id serial PRIMARY KEY, name text, applied timestamp);"
            "INSERT INTO schema_migration (name, applied) SELECT unnest(%s), now();"
            "CREATE TABLE jobs ()",
            (list(history),),
        )

    release = subprocess.run(RELEASE, env=_release_env(servers, empty_url), capture_output=True)

    # Then the operator reads one sentence, and nothing was changed
    assert release.returncode == 1
    assert release.stderr.decode() == (
        "autos release: The database holds the tables of an earlier edition of Autos, which this"
        " edition cannot migrate: set DATABASE_URL to an empty database and run the release"
        " again.\n"
    )
    with closing(psycopg2.connect(empty_url)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute("SELECT relname FROM pg_stat_user_tables ORDER BY relname")
        assert cursor.fetchall() == [("jobs",), ("schema_migration",)]


def test_two_releases_at_once_are_safe(servers: EmbeddedServers, empty_url: str) -> None:
    env = _release_env(servers, empty_url)
    pipe = subprocess.PIPE

    running = [subprocess.Popen(RELEASE, env=env, stdout=pipe, stderr=pipe) for _ in range(2)]
    outputs = [process.communicate(timeout=100)[1].decode() for process in running]

    assert [process.returncode for process in running] == [0, 0], outputs
    assert sum(NAMES[0] in text for text in outputs) == 1
    assert PORTAL_TOKEN not in "".join(outputs)
    assert WEBHOOK_SECRET not in "".join(outputs)
