"""Test that every session of a role has the settings that Autos needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from peewee import fn
from structlog.testing import capture_logs

from dev.embedded.embedded_servers import EmbeddedServers
from storage.errors import ConfigurationError
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.postgres.session_settings import SETTINGS
from tests.databases import create_database

ROLE = "settings_of_its_own"
OTHERS = {
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "DateStyle": "German, DMY",
    "extra_float_digits": "-5",
    "client_encoding": "LATIN1",
    "transform_null_equals": "on",
    "exit_on_error": "on",
}


@pytest.fixture
def url(servers: EmbeddedServers) -> Iterator[str]:
    """Yield the URL of a database as a role without superuser rights and without settings."""
    server_url = servers.env["DATABASE_URL"]
    direct = create_database(server_url, "session_settings")
    with closing(psycopg2.connect(server_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE ROLE {ROLE} LOGIN")
        yield direct.replace("postgres:@", f"{ROLE}:@")
        cursor.execute("DROP DATABASE session_settings WITH (FORCE)")
        cursor.execute(f"DROP ROLE {ROLE}")


def _install(url: str) -> list[str]:
    with (
        closing(Database(url, max_connections=1)) as database,
        database.raw() as db,
        db.atomic(),
    ):
        return session_settings.install(db)


def _missing(url: str) -> list[str]:
    with closing(Database(url, max_connections=1)) as database:
        return session_settings.missing(database)


def test_a_role_gives_itself_what_its_next_sessions_need(url: str) -> None:
    assert _missing(url) == list(SETTINGS)

    assert _install(url) == list(SETTINGS)

    assert _missing(url) == []
    assert _install(url) == []


def test_what_an_administrator_has_bounded_otherwise_stays(url: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection:
        connection.cursor().execute(f"ALTER ROLE {ROLE} SET statement_timeout = '5s'")

    assert _install(url) == ["jit", "idle_in_transaction_session_timeout"]


def test_a_role_that_may_not_is_given_the_statements_for_an_administrator(
    url: str, servers: EmbeddedServers
) -> None:
    administrator = url.replace(f"{ROLE}:@", "postgres:@")

    with pytest.raises(ConfigurationError) as raised:
        _install(f"{administrator}&options=-c%20role%3D{ROLE}")

    sentence = str(raised.value)
    assert "ALTER ROLE postgres IN DATABASE session_settings SET jit = 'off'" in sentence
    assert _missing(administrator) == list(SETTINGS)


def test_a_process_logs_once_what_its_sessions_lack(url: str) -> None:
    with closing(Database(url, max_connections=1)) as database, capture_logs() as lines:
        assert session_settings.log_missing(database)
    assert [line["missing"] for line in lines] == [list(SETTINGS)]
    assert "storage.release" in lines[0]["event"]

    _install(url)
    with closing(Database(url, max_connections=1)) as database, capture_logs() as lines:
        assert session_settings.log_missing(database)
    assert lines == []


def test_an_unavailable_server_is_queried_again_later() -> None:
    with closing(Database("postgresql://nobody@127.0.0.1:1/x", max_connections=1)) as away:
        assert not session_settings.log_missing(away)


def test_the_urls_own_parameters_win(url: str) -> None:
    given = "connect_timeout=2&keepalives_idle=7&application_name=own&options=-c%20jit%3Doff"
    with closing(Database(f"{url}&{given}", max_connections=1)) as database:
        with database.raw() as db:
            found = db.connection().info.dsn_parameters
        assert session_settings.missing(database) == list(SETTINGS)[1:]

    assert found["connect_timeout"] == "2"
    assert found["keepalives_idle"] == "7"
    assert found["keepalives_interval"] == "3"
    assert found["application_name"] == "own"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_role_keeps_what_statements_need_whatever_else_is_set(
    url: str, *, is_first: bool
) -> None:
    if not is_first:
        _install(url)
    with closing(psycopg2.connect(url.replace(f"{ROLE}:@", "postgres:@"))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        # When the sessions of a database or role would read, compare or store other values
        for name, value in OTHERS.items():
            cursor.execute(f"ALTER DATABASE session_settings SET {name} = '{value}'")
            cursor.execute(f"ALTER ROLE {ROLE} SET {name} = '{value}'")
    if is_first:
        assert set(OTHERS) < set(_missing(url))
        assert set(OTHERS) < set(_install(url))
    # Then the role's own settings in its database are what Autos needs
    assert _missing(url) == []


def test_a_setting_that_only_an_administrator_may_change_is_asked_of_one(url: str) -> None:
    with closing(psycopg2.connect(url.replace(f"{ROLE}:@", "postgres:@"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            "ALTER DATABASE session_settings SET session_replication_role = replica"
        )
    with pytest.raises(ConfigurationError, match=r"SET session_replication_role = 'origin';$"):
        _install(url)


def test_a_transaction_is_read_committed_whatever_the_session_has(url: str) -> None:
    other = f"{url}&options=-c%20default_transaction_isolation%3Dserializable"
    with closing(Database(other, max_connections=1)) as database:
        problem = session_settings.exactness_problem(database)
        assert "default_transaction_isolation = read committed" in problem
        assert "run `python -m storage.release`" in problem
        with database.transaction() as transaction:
            level = transaction.value(fn.current_setting("transaction_isolation"))
    assert level == "read committed"


def test_a_release_may_take_longer_than_a_session_is_allowed(database: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "transaction_timeout")
    with database.transaction() as transaction:
        transaction.set_local(**dict.fromkeys(names, "1min"))
        session_settings.free(transaction)
        assert [transaction.value(fn.current_setting(name)) for name in names] == ["0", "0", "0"]
