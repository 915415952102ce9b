"""The pool of connections to PostgreSQL of one process, with its numbers for operators."""

from __future__ import annotations

import select
import time
from typing import Any

from playhouse.pool import MaxConnectionsExceeded, PooledDatabase, PooledPostgresqlDatabase

from storage.event_counters import (
    CONNECTION_WAIT_SECONDS,
    CONNECTION_WAITS,
    CONNECTIONS_BUSY,
    CONNECTIONS_LIMIT,
    OnCount,
)
from storage.postgres.postgres_errors import readable_answers

# Seconds until a thread without a free connection gives up.
WAIT_S = 10


class ConnectionPool(PooledPostgresqlDatabase):  # type: ignore[misc]
    """peewee's pool, without a test query each time that a connection is taken.

    A server that ends a session sends a message. So only a connection with unread bytes is tested.

    `on_count` gets each connection that is taken (+1) or returned (-1), and each wait for one.
    """

    def __init__(
        self, database: str, *, max_connections: int, on_count: OnCount | None, **where: Any
    ) -> None:
        super().__init__(
            database, max_connections=max_connections, timeout=WAIT_S, autoconnect=False, **where
        )
        self._on_count = on_count
        self._count(CONNECTIONS_LIMIT, max_connections)

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Take a connection for this thread; wait if all are in use.

        Raises MaxConnectionsExceeded after WAIT_S.
        """
        try:
            # The connect method below the pool's does not wait.
            is_new = super(PooledDatabase, self).connect(reuse_if_open)
        except MaxConnectionsExceeded:
            self._count(CONNECTION_WAITS, 1)
            begun = time.monotonic()
            try:
                is_new = super().connect(reuse_if_open)
            finally:
                self._count(CONNECTION_WAIT_SECONDS, time.monotonic() - begun)
        if is_new:
            self._count(CONNECTIONS_BUSY, 1)
        return bool(is_new)

    def _connect(self) -> Any:
        with readable_answers():
            return super()._connect()

    def close(self) -> bool:
        """Return this thread's connection to the pool. False: it had none."""
        is_closed = bool(super().close())
        if is_closed:
            self._count(CONNECTIONS_BUSY, -1)
        return is_closed

    def _count(self, series: str, number: float) -> None:
        if self._on_count:
            self._on_count(series, (), number)

    def _is_closed(self, connection: Any) -> bool:
        return bool(connection.closed) or (
            _has_word(connection.fileno()) and super()._is_closed(connection)
        )


def _has_word(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
