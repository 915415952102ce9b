"""Sessions with PostgreSQL that a pooler assigns, each for one transaction."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from pathlib import Path

from tests.pooling import wire_messages
from tests.pooling.wire_messages import IDLE, Message

# Queries for state that a transaction may leave in its session; all must return nothing.
_LEFT = """
SELECT 'lock ' || objid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
UNION ALL SELECT 'setting ' || name FROM pg_settings WHERE source = 'session'
UNION ALL SELECT 'statement ' || name FROM pg_prepared_statements
UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
UNION ALL SELECT 'channel ' || name FROM pg_listening_channels() AS name
UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
"""


class Session:
    """One session; only its holder uses it until it is returned."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.settings: list[Message] = []
        self.key = b""

    @classmethod
    async def open(cls, socket: Path, user: str, database: str) -> Session:
        """Open a session. Raises ConnectionError with PostgreSQL's error text."""
        session = cls(*await asyncio.open_unix_connection(str(socket)))
        session.writer.write(wire_messages.startup(user, database))
        while (message := await wire_messages.read(session.reader)).kind != b"Z":
            if message.kind == b"E":
                session.writer.close()
                raise ConnectionError(message)
            if message.kind == b"S":
                session.settings.append(message)
            if message.kind == b"K":
                session.key = message.body
        return session

    async def rows(self, sql: str) -> list[str]:
        """Return the first column of a statement's rows. Raises ConnectionError if it fails."""
        self.writer.write(wire_messages.query(sql).raw)
        found = []
        while (message := await wire_messages.read(self.reader)).kind != b"Z":
            if message.kind == b"E":
                raise ConnectionError(message)
            if message.kind == b"D":
                found.append(wire_messages.columns(message)[0])
        return found

    async def is_alive(self) -> bool:
        """Return True if PostgreSQL still answers in it."""
        try:
            await self.rows("SELECT 1")
        except (OSError, asyncio.IncompleteReadError):
            return False
        return True

    async def cancel(self, socket: Path) -> None:
        """Cancel the statement that runs in it."""
        _, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(struct.pack("!ii", 16, wire_messages.CANCEL_REQUEST) + self.key)
        writer.close()
        await writer.wait_closed()


class Sessions:
    """The sessions of one role in one database, at most `most`.

    Each transaction gets the session that has been idle longest, and never the client's previous
    one. State that a transaction left in its session is recorded, then discarded.
    """

    def __init__(self, socket: Path, user: str, database: str, most: int) -> None:
        self._socket, self._user, self._database = socket, user, database
        self._resting: deque[Session] = deque()
        self._room = asyncio.Semaphore(most)
        self.left: list[str] = []

    async def take(self, last: Session | None) -> Session:
        """Return a session for one transaction, other than `last`."""
        await self._room.acquire()
        try:
            for session in list(self._resting):
                if session is not last:
                    self._resting.remove(session)
                    if await session.is_alive():
                        return session
                    session.writer.close()
            return await Session.open(self._socket, self._user, self._database)
        except BaseException:
            self._room.release()
            raise

    async def put_back(self, session: Session) -> None:
        """Record and discard the state that the transaction left."""
        try:
            self.left += await session.rows(_LEFT)
            await session.rows("DISCARD ALL")
            self._resting.append(session)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.left.append(f"a session that ended: {error}")
            session.writer.close()
        finally:
            self._room.release()

    def drop(self, session: Session) -> None:
        """Close a session with an unfinished transaction."""
        session.writer.close()
        self._room.release()

    def close(self) -> None:
        """Close idle sessions."""
        for session in self._resting:
            session.writer.close()
        self._resting.clear()


def is_between(ready: Message) -> bool:
    """Return True if no transaction is open after this ReadyForQuery."""
    return ready.body == IDLE
