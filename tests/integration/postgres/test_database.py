"""Test the pool: it sends no liveness query and never returns a broken connection."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from dev.processes.deadline import until
from storage.errors import RowsLocked, ServiceUnavailable
from storage.event_counters import (
    CONNECTION_WAIT_SECONDS,
    CONNECTION_WAITS,
    CONNECTIONS_BUSY,
    CONNECTIONS_LIMIT,
)
from storage.postgres.database import Database

DEADLINE_S = 60.0
READ_ONLY = "SET SESSION default_transaction_read_only = on"


def test_a_connection_that_was_cut_while_idle_is_replaced(
    database: Database, direct_url: str
) -> None:
    with database.transaction() as transaction:
        pid = transaction.only("SELECT pg_backend_pid() AS pid")["pid"]

    with closing(Database(direct_url, max_connections=1)) as other:
        with other.transaction() as transaction:
            transaction.only("SELECT pg_terminate_backend(%(pid)s)", pid=pid)

        def is_gone() -> bool:
            with other.transaction() as transaction:
                return not transaction.all("SELECT FROM pg_stat_activity WHERE pid = %(p)s", p=pid)

        until(is_gone, DEADLINE_S, "The session does not end.")

    with database.transaction() as transaction:
        assert transaction.only("SELECT pg_backend_pid() AS pid")["pid"] != pid


def test_the_readings_of_a_snapshot_see_no_later_change(database: Database) -> None:
    count = "SELECT count(*) AS found FROM logins"

    def add() -> None:
        with database.transaction() as transaction:
            transaction.only("INSERT INTO logins (login_key) VALUES ('a') RETURNING 1 AS made")

    with ThreadPoolExecutor(1) as pool, database.snapshot() as reading:
        assert reading.only(count)["found"] == 0
        pool.submit(add).result(DEADLINE_S)
        assert reading.only(count)["found"] == 0
    with database.snapshot() as reading:
        assert reading.only(count)["found"] == 1


def test_a_wait_for_a_connection_is_counted_and_so_are_those_in_use(database_url: str) -> None:
    use: dict[str, float] = defaultdict(float)

    def count(name: str, _labels: tuple[str, ...], number: float) -> None:
        use[name] += number

    def read(database: Database) -> int:
        with database.transaction() as transaction:
            return int(transaction.only("SELECT 1 AS one")["one"])

    with (
        closing(Database(database_url, max_connections=1, on_count=count)) as database,
        ThreadPoolExecutor(1) as threads,
    ):
        assert read(database) == 1
        assert use == {CONNECTIONS_LIMIT: 1, CONNECTIONS_BUSY: 0}

        # Given the only connection in use, when another thread needs one
        with database.transaction():
            assert use[CONNECTIONS_BUSY] == 1
            waiting = threads.submit(read, database)
            until(lambda: use[CONNECTION_WAITS] == 1, DEADLINE_S, "Nothing waits.")

        # Then it gets that one, and its wait is counted
        assert waiting.result(DEADLINE_S) == 1
    assert use[CONNECTION_WAITS] == 1
    assert use[CONNECTION_WAIT_SECONDS] > 0
    assert use[CONNECTIONS_BUSY] == 0


def _delete(database: Database, first: str) -> None:
    with database.transaction() as transaction:
        transaction.run(first)
        transaction.run("DELETE FROM jobs")


def test_a_server_that_may_only_be_read_is_away(database: Database) -> None:
    with pytest.raises(ServiceUnavailable):
        _delete(database, "SET TRANSACTION READ ONLY")


def test_the_sessions_of_a_former_primary_are_not_used_again(database_url: str) -> None:
    # Given two idle sessions with a server that has become a standby meanwhile
    with closing(Database(database_url, max_connections=2)) as database:
        with ThreadPoolExecutor(1) as threads, database.transaction() as transaction:
            transaction.run(READ_ONLY)
            threads.submit(_run, database, READ_ONLY).result(DEADLINE_S)
        # When it refuses to write
        with pytest.raises(ServiceUnavailable):
            _run(database, "DELETE FROM jobs")
        # Then the next attempts reach the new primary, which the address names now
        for _ in range(2):
            _run(database, "DELETE FROM jobs")


def _run(database: Database, statement: str) -> None:
    with database.transaction() as transaction:
        transaction.run(statement)


def test_a_lock_of_another_transaction_differs_from_an_outage(
    database: Database, database_url: str
) -> None:
    with (
        closing(Database(database_url, max_connections=1)) as other,
        other.transaction() as holder,
        ThreadPoolExecutor(1) as pool,
    ):
        holder.run("LOCK jobs")
        error = pool.submit(_delete, database, "SET LOCAL lock_timeout = 1").exception(60)

    assert isinstance(error, RowsLocked)
