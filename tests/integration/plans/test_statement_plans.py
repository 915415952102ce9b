"""Test that no statement of storage/sql/ has a plan that grows with the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg2
import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from storage import sql
from tests.integration.harness.empty_databases import EmptyDatabases
from tests.integration.plans import large_tables
from tests.integration.plans.function_statements import (
    FunctionStatement,
    function_statements,
    tables_read,
)
from tests.integration.plans.plan_trees import print_plans, scans

# Tables with one row per portal, court, slot, process or login are small, however many jobs there
# are.
SMALL = {"portal", "courts", "slots", "workers", "leader", "logins", "installation", "spools"}
# A function in this language has one statement, which is planned when it is called.
_IN_SQL = "LANGUAGE sql"
# Sample parameters of each statement, with the types that its caller sends.
_VALUES: dict[str, dict[str, object]] = {
    "changed_documents": {"ids": [uuid4()], "after": [1], "up_to": [9]},
    "lock_objects": {"keys": ["a"]},
    "missing_settings": {"names": ["jit"], "values": ["off"], "unset": ["on"], "pins": True},
    "name_sweep_candidates": {"keys": ["a"]},
    "newest_jobs": {"clients": ["a"], "process_numbers": ["1"]},
    "note_swept_objects": {"keys": ["a"]},
    "next_webhook": {"client": None, "of_client": 8, "of_receiver": 4, "window": 100},
    "pause_portal": {
        "asked_s": None,
        "at_once": 10,
        "base_s": 1.0,
        "cap_s": 300.0,
        "client": "billing",
        "lease": uuid4(),
        "scope": "",
        "spread": 1.1,
    },
    "read_courts": {},
    "read_portal": {"fingerprint": "a", "login_key": "a"},
    "read_slots": {},
    "read_workers": {"heartbeat_s": 5.0},
    "record_request_times": {
        "courts": ["8.26"],
        "kept": 0.98,
        "least_s": 0.001,
        "plain": 20,
        "requests": [1],
        "seconds": [1.0],
    },
    "want_documents": {"job_id": uuid4(), "revision": 1, "rows": "[]"},
    "take_stalled_webhooks": {"base_s": 5, "cap_s": 60, "most": 10, "sent_before": None},
}
_SETTING = re.compile(r"^SET (\w+) = (\S+)$", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Tables:
    """A session with large tables, and the names of tables and indexes by OID."""

    connection: psycopg2.extensions.connection
    names: dict[int | None, str]


@pytest.fixture(scope="module")
def tables(servers: EmbeddedServers, databases: EmptyDatabases) -> Iterator[Tables]:
    """Return large tables that were analyzed."""
    url = large_tables.create(servers.env["DATABASE_URL"], "statement_plans")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::bigint, relname FROM pg_class"
            " WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"
        )
        names = dict(cursor.fetchall())
        print_plans(connection)
        yield Tables(connection, names)


@contextmanager
def _undone(tables: Tables) -> Iterator[psycopg2.extensions.cursor]:
    """Run a transaction and roll it back. Only its plans are needed: statements may raise."""
    tables.connection.notices.clear()
    try:
        with tables.connection.cursor() as cursor:
            yield cursor
    except psycopg2.DatabaseError as error:
        if isinstance(error, psycopg2.ProgrammingError):
            raise
    finally:
        tables.connection.rollback()


def _growing(tables: Tables, text: str) -> list[str]:
    """Return the scans of large tables that no condition on an index narrows down.

    `text`: the statement; one of the plans must belong to it.
    """
    made = scans(tables.connection)
    assert tables_read(text) <= {tables.names.get(scan.table) for scan in made}, "not planned"
    return [
        f"{scan.kind} of {tables.names[scan.table]} by {tables.names.get(scan.index)}"
        for scan in made
        if not scan.has_condition and tables.names.get(scan.table) not in {None, *SMALL}
    ]


def _of_statement(tables: Tables, name: str) -> list[str]:
    """Return the growing scans of a file that is a statement."""
    with _undone(tables) as cursor:
        cursor.execute(f"EXPLAIN {sql.statement(name)}", _VALUES[name])
    return _growing(tables, sql.statement(name))


def _of_function(tables: Tables, name: str, statement: FunctionStatement) -> list[str]:
    """Return the growing scans of a statement of a function."""
    call = _PARAMETER.sub("NULL", sql.function(name).call)
    with _undone(tables) as cursor:
        # A function without settings runs under those of its callers, which are alike.
        for setting, value in _SETTING.findall(sql.function("claim").definition):
            cursor.execute(f"SET LOCAL {setting} = {value}")
        cursor.execute(statement.definition)
        cursor.execute(call)
    return _growing(tables, statement.text)


def _statements(name: str) -> list[FunctionStatement]:
    definition = sql.function(name).definition
    if _IN_SQL in definition:
        return [FunctionStatement(definition, definition)]
    return function_statements(name)


def _of_file(tables: Tables, name: str) -> dict[str, list[str]]:
    """Return the growing scans of a file, by statement."""
    if name in sql.function_names():
        found = {
            " ".join(statement.text.split()): _of_function(tables, name, statement)
            for statement in _statements(name)
        }
    else:
        found = {name: _of_statement(tables, name)}
    return {text: growing for text, growing in found.items() if growing}


@contextmanager
def _without(tables: Tables, index: str) -> Iterator[None]:
    """Yield the tables without one index, and create it again afterwards."""
    with tables.connection, tables.connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_indexdef(to_regclass(%s))", [index])
        (definition,) = cursor.fetchone() or ("",)
        cursor.execute(f"DROP INDEX {index}")
    yield
    with tables.connection, tables.connection.cursor() as cursor:
        cursor.execute(definition)


@pytest.mark.parametrize("name", [*sql.function_names(), *sql.statement_names()])
def test_every_statement_reads_large_tables_by_a_condition_on_an_index(
    tables: Tables, name: str
) -> None:
    assert _of_file(tables, name) == {}


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("documents_lease", "record_stored"),
        ("jobs_listing", "renew_leases"),
        ("jobs_listed", "serving_listing"),
        ("webhooks_queue", "take_stalled_webhooks"),
    ],
)
def test_a_statement_that_has_lost_its_index_is_noticed(
    tables: Tables, index: str, name: str
) -> None:
    with _without(tables, index):
        assert _of_file(tables, name) != {}
