"""PostgreSQL: a pool, short transactions, and the one place that translates its errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import peewee
import psycopg2.extensions
import psycopg2.extras
from playhouse.pool import MaxConnectionsExceeded
from psycopg2.extensions import (
    ISOLATION_LEVEL_READ_COMMITTED,
    ISOLATION_LEVEL_REPEATABLE_READ,
)

from storage.errors import RowsLocked, ServiceUnavailable
from storage.event_counters import OnCount
from storage.logs import OutageLog
from storage.postgres.pool import ConnectionPool
from storage.postgres.postgres_errors import READ_ONLY_SQL_TRANSACTION, meaning, refused_subject
from storage.sql import SqlFunction

Row = dict[str, Any]
OnChange = Callable[[UUID, int], None]

psycopg2.extras.register_uuid()

SESSION_OPERATION, STATEMENT_OPERATION = "session", "statement"
# Other statements may succeed between two that PostgreSQL refuses. So such a refusal is over only
# when it has not occurred for this long, in seconds.
STATEMENT_QUIET_S = 60.0
# Seconds between two times that all idle sessions with a former primary are closed.
LEAVE_AGAIN_S = 1.0

# The options of a connection, unless the URL sets others. A host that is gone is noticed within
# about 20 s (TCP only). PostgreSQL itself keeps the other settings of a session: see
# storage/postgres/session_settings.py.
CONNECTION = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


class Transaction:
    """The operations inside one transaction. Rows are plain dicts."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.changes: dict[UUID, int] = {}
        self.counts: dict[tuple[str, tuple[str, ...]], int] = {}

    def all(self, sql: str, **values: Any) -> list[Row]:
        """Return every row of `sql`; `%(name)s` stands for a value."""
        cursor = self._db.execute_sql(sql, values)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def one(self, sql: str, **values: Any) -> Row | None:
        """Return the first row, None without one."""
        return next(iter(self.all(sql, **values)), None)

    def only(self, sql: str, **values: Any) -> Row:
        """Return the one row that must exist. A missing row is a defect in Autos."""
        row = self.one(sql, **values)
        if row is None:
            raise LookupError("a required row is missing")
        return row

    def run(self, sql: str, **values: Any) -> int:
        """Run `sql`. Return how many rows it changed."""
        return int(self._db.execute_sql(sql, values).rowcount)

    def fetch(self, query: Any) -> list[Any]:
        """Return the rows of a query of models, in the form that the query chose.

        The forms are `.dicts()`, `.objects(Record)`, or models.
        """
        return list(query.execute(self._db))

    def fetch_one(self, query: Any) -> Any:
        """Return the first row of a query of models, None without one."""
        return next(iter(query.execute(self._db)), None)

    def execute(self, query: Any) -> int:
        """Run an INSERT, UPDATE or DELETE of models. Return how many rows it changed."""
        if isinstance(query, peewee.Insert):
            query = query.as_rowcount()
        return int(query.execute(self._db))

    def now(self) -> datetime:
        """Return the present time by the clock of the database."""
        moment: datetime = self.value(peewee.fn.clock_timestamp())
        return moment

    def value(self, expression: Any) -> Any:
        """Return the value of an expression that reads no table."""
        (value,) = self.fetch_one(peewee.Select(columns=[expression]).tuples())
        return value

    def set_local(self, **settings: str) -> None:
        """Change settings of PostgreSQL until this transaction ends."""
        for name, value in settings.items():
            self.value(peewee.fn.set_config(name, value, True))

    def changed(self, job_id: UUID, revision: int) -> None:
        """Keep a change of a job, to be announced after COMMIT."""
        self.changes[job_id] = max(revision, self.changes.get(job_id, 0))

    def count(self, series: str, *labels: str, by: int = 1) -> None:
        """Keep an event, to be counted after COMMIT."""
        self.counts[series, labels] = self.counts.get((series, labels), 0) + by


class Database:
    """A pool of connections. Thread-safe. Open it after a fork.

    `on_count` gets what committed transactions did, and the use of the pool's connections.
    `clock`: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int,
        on_change: OnChange | None = None,
        on_count: OnCount | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        where = CONNECTION | psycopg2.extensions.parse_dsn(url)
        self._db = ConnectionPool(
            where.pop("dbname"), max_connections=max_connections, on_count=on_count, **where
        )
        self._outages = OutageLog("PostgreSQL")
        self._refused_statements = OutageLog("PostgreSQL", clock=clock)
        self._on_change = on_change
        self._on_count = on_count
        self._clock = clock
        self._left_standby_at = float("-inf")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Translate errors of PostgreSQL, and log outages and refusals."""
        try:
            yield
        except peewee.PeeweeException as error:
            unavailable = meaning(error)
            if unavailable is None:
                raise
            if unavailable.code == READ_ONLY_SQL_TRANSACTION:
                self._leave_standby()
            self._log_failure(unavailable)
            raise unavailable from error
        except MaxConnectionsExceeded as error:
            # This process has no free connection.
            raise ServiceUnavailable("PostgreSQL", code=type(error).__name__) from error
        self._outages.succeeded(SESSION_OPERATION)
        self._refused_statements.end_quiet(STATEMENT_QUIET_S)

    def _leave_standby(self) -> None:
        """Close the idle sessions: new ones may reach the primary."""
        now = self._clock()
        # While there is no primary, readers must not connect anew for each refused write.
        if now - self._left_standby_at > LEAVE_AGAIN_S:
            self._left_standby_at = now
            self._db.close_idle()

    def _log_failure(self, error: ServiceUnavailable) -> None:
        if isinstance(error, RowsLocked):
            return
        if subject := refused_subject(error):
            self._refused_statements.failed(STATEMENT_OPERATION, error, subject)
        else:
            self._outages.failed(SESSION_OPERATION, error)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open one transaction on one connection of the pool. Announce its changes after COMMIT.

        Raises ServiceUnavailable if PostgreSQL is unavailable. If that happens at COMMIT, the work
        may or may not be stored: every caller must be safe to repeat.
        """
        # Whatever is set for the role or for the database.
        with self._isolated(ISOLATION_LEVEL_READ_COMMITTED) as transaction:
            yield transaction
        self._publish(transaction)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Open a transaction whose readings all see the rows as they were at its first one."""
        with self._isolated(ISOLATION_LEVEL_REPEATABLE_READ) as transaction:
            yield transaction

    @contextmanager
    def _isolated(self, level: int) -> Iterator[Transaction]:
        with self._asking(), self._db.connection_context(), self._db.atomic(level):
            yield Transaction(self._db)

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Open a connection without BEGIN and COMMIT: each statement is a transaction by itself.

        This saves two round trips, for one statement or for readings that need no common snapshot.
        """
        with self._asking(), self._db.connection_context():
            transaction = Transaction(self._db)
            yield transaction
        self._publish(transaction)

    def _publish(self, transaction: Transaction) -> None:
        if self._on_change:
            for job_id, revision in transaction.changes.items():
                self._on_change(job_id, revision)
        if self._on_count:
            for (series, labels), number in transaction.counts.items():
                self._on_count(series, labels, number)

    def call(self, function: SqlFunction, **values: Any) -> list[Row]:
        """Call `function` in one round trip, with its own COMMIT. Return its rows.

        Rows with `job_id` and `revision` are announced as changes of jobs. Raises
        ServiceUnavailable, and then the call may or may not have taken effect, as with
        `transaction`.
        """
        with self._asking(), self._db.connection_context():
            rows = Transaction(self._db).all(function.call, **values)
        if self._on_change:
            for row in rows:
                if row.get("revision"):
                    self._on_change(row["job_id"], row["revision"])
        return rows

    def call_one(self, function: SqlFunction, **values: Any) -> Row | None:
        """Call `function`. Return its one row, None without one."""
        return next(iter(self.call(function, **values)), None)

    def counted(self, series: str, *labels: str, by: int = 1) -> None:
        """Count an event that a `call` caused."""
        if self._on_count:
            self._on_count(series, labels, by)

    @contextmanager
    def raw(self) -> Iterator[Any]:
        """Return the peewee database with a connection, for migrations."""
        with self._asking(), self._db.connection_context():
            yield self._db

    def close(self) -> None:
        """Close the idle connections."""
        self._db.close_idle()
