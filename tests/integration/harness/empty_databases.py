"""Migrated databases without rows, which tests use one after the other.

The sessions of a test's pool are kept for the next test of the same database: a new session of
PostgreSQL plans each function again, which costs more than most tests do themselves.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from dev.processes.deadline import until
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from tests.databases import create_database
from tests.databases import database_url as database_url_of

TEMPLATE = "template_autos"
# Most tests need no more at once.
MOST_KEPT = 4
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = %s"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> ALL(%s)"
TABLES = "SELECT relname FROM pg_stat_user_tables WHERE relname <> 'schema_migration'"
# What a test may have left in a session. A session reports its deadlocks when it ends, or now.
CLEAN = (
    "CLOSE ALL; UNLISTEN *; RESET ALL; SELECT pg_advisory_unlock_all(), pg_stat_force_next_flush()"
)
# With this setting the tables may come in any order.
EMPTY = (
    "BEGIN; SET LOCAL session_replication_role = replica; {};"
    " INSERT INTO portal DEFAULT VALUES; INSERT INTO leader DEFAULT VALUES; COMMIT"
)

_numbers = itertools.count(1)


class EmptyDatabases:
    """The databases of one server. After a test its database is emptied and reused."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        with closing(
            Database(create_database(server_url, TEMPLATE), max_connections=1)
        ) as template:
            migrate(template)
            with template.raw() as db:
                tables = [table for (table,) in db.execute_sql(TABLES).fetchall()]
        self._empty = EMPTY.format("; ".join(f'DELETE FROM "{table}"' for table in tables))
        self._spare: list[str] = []
        self._kept: dict[str, list[Any]] = {}
        self._server = psycopg2.connect(server_url)
        self._server.autocommit = True

    @contextmanager
    def one(self, *, is_new: bool = False) -> Iterator[str]:
        """Yield the URL of a database that no other test uses. A deadlock in it is an error.

        `is_new`: without the statistics of the planner that earlier tests left in a used one.
        """
        name = self._spare.pop() if self._spare and not is_new else self._new()
        before = self._ask(DEADLOCKS, name)
        yield database_url_of(self._server_url, name)
        pids = [session.info.backend_pid for session in self._kept.get(name, [])]
        until(lambda: self._ask(SESSIONS, name, pids) == 0, 60, f"{name} is still in use")
        assert self._ask(DEADLOCKS, name) == before, "PostgreSQL had to break a deadlock"
        self._wipe(name)
        self._spare.append(name)

    @contextmanager
    def pool(self, url: str, *, max_connections: int) -> Iterator[Database]:
        """Yield a pool of the database `url` that begins with the sessions of the last pool."""
        name = url.rpartition("?")[0].rpartition("/")[2]
        database = Database(url, max_connections=max_connections)
        pool = database._db
        for place, session in enumerate(self._kept.pop(name, [])):
            heapq.heappush(pool._connections, (0.0, place - MOST_KEPT, session))
        yield database
        with pool._pool_lock:
            idle, pool._connections = sorted(pool._connections), []
        sessions = [session for *_, session in idle]
        self._kept[name] = [session for session in sessions[:MOST_KEPT] if _is_clean(session)]
        for session in sessions:
            if session not in self._kept[name]:
                session.close()
        # Connections that a thread gives back from now on.
        database.close()

    def close(self) -> None:
        """Close all sessions."""
        for session in itertools.chain([self._server], *self._kept.values()):
            session.close()

    def _new(self) -> str:
        name = f"test_{next(_numbers)}"
        url = create_database(self._server_url, name, template=TEMPLATE)
        # CREATE DATABASE does not copy the settings of a role in the template.
        with closing(Database(url, max_connections=1)) as database:
            migrate(database)
        return name

    def _wipe(self, name: str) -> None:
        if not self._kept.get(name):
            url = database_url_of(self._server_url, name)
            with self.pool(url, max_connections=1) as database, database.raw():
                pass  # Open a session.
        try:
            with self._kept[name][0].cursor() as cursor:
                cursor.execute(self._empty)
        except psycopg2.OperationalError:
            # The test has ended the sessions of its database, and used none of these (`--pooled`).
            del self._kept[name]
            self._wipe(name)

    def _ask(self, select: str, *values: object) -> int:
        with self._server.cursor() as cursor:
            cursor.execute(select, values)
            (number,) = cursor.fetchone() or (0,)
        return int(number)


def _is_clean(session: Any) -> bool:
    """Clean a session. Return False if it has ended."""
    try:
        with session.cursor() as cursor:
            cursor.execute(CLEAN)
        if not session.autocommit:
            session.rollback()
    except psycopg2.Error:
        return False
    return True
