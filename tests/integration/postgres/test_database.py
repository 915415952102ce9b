"""Test the pool: it sends no liveness query and never returns a broken connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from dev.processes.deadline import until
from storage.errors import RowsLocked, ServiceUnavailable
from storage.postgres.database import Database

DEADLINE_S = 60.0


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


def _delete(database: Database, first: str) -> None:
    with database.transaction() as transaction:
        transaction.run(first)
        transaction.run("DELETE FROM jobs")


def test_a_server_that_may_only_be_read_is_away(database: Database) -> None:
    with pytest.raises(ServiceUnavailable):
        _delete(database, "SET TRANSACTION READ ONLY")


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
