"""The pooler: it accepts connections, and gives each of their transactions another session."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.network.loop_thread import LoopThread
from tests.pooling import wire_messages
from tests.pooling.sessions import Session, Sessions, is_between
from tests.pooling.wire_messages import Message

MOST_SESSIONS = 20
_GONE = (OSError, asyncio.IncompleteReadError)


class Pooler:
    """A pooler on a free port before the PostgreSQL that `server_url` names by its socket's folder.

    It runs between `__enter__` and `__exit__`. Like pgbouncer it rejects unknown parameters at the
    start of a connection, `options` above all.
    """

    def __init__(self, server_url: str) -> None:
        (folder,) = parse_qs(urlsplit(server_url).query)["host"]
        self._socket = Path(folder) / ".s.PGSQL.5432"
        self._loop = LoopThread()
        self._pools: dict[tuple[str, str], Sessions] = {}
        self._clients: dict[bytes, Client] = {}
        self._keys = itertools.count(1)
        self._port = 0

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._loop.run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.run(self._close())
        self._loop.__exit__(kind, error, traceback)

    def url(self, server_url: str) -> str:
        """Return the URL of a database of the server through the pooler."""
        parts = urlsplit(server_url)
        user = parts.username or "postgres"
        return f"postgresql://{user}@127.0.0.1:{self._port}{parts.path}"

    @property
    def left(self) -> list[str]:
        """Return the state that transactions left in their sessions."""
        return [each for sessions in self._pools.values() for each in sessions.left]

    def reconnect(self) -> None:
        """Close idle sessions, so that the next transactions get new ones."""
        self._loop.run(self._reconnect())

    async def _reconnect(self) -> None:
        for sessions in self._pools.values():
            sessions.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        await self._reconnect()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            client = await self._begin(reader, writer)
            if client:
                await self._answer(client)
        except (*_GONE, asyncio.CancelledError):
            pass  # The client has disconnected, or the pooler stops.
        finally:
            writer.close()

    async def _answer(self, client: Client) -> None:
        self._clients[client.key] = client
        try:
            await client.serve()
        finally:
            del self._clients[client.key]
            client.close()

    async def _begin(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Client | None:
        code, body = await wire_messages.read_startup(reader)
        while code in (wire_messages.SSL_REQUEST, wire_messages.GSS_REQUEST):
            writer.write(b"N")
            code, body = await wire_messages.read_startup(reader)
        if code == wire_messages.CANCEL_REQUEST:
            if (client := self._clients.get(body)) and client.session:
                await client.session.cancel(self._socket)
            return None
        given = wire_messages.parameters(body)
        if unknown := sorted(set(given) - wire_messages.STARTUP):
            writer.write(wire_messages.fatal(f"unsupported startup parameter: {unknown[0]}").raw)
            return None
        where = (given["user"], given.get("database", given["user"]))
        if where not in self._pools:
            self._pools[where] = Sessions(self._socket, *where, MOST_SESSIONS)
        key = struct.pack("!ii", next(self._keys), 0)
        client = Client(reader, writer, self._pools[where], key)
        return client if await client.greet() else None


class Client:
    """A connection to the pooler; `session` is set while a transaction of it runs."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sessions: Sessions,
        key: bytes,
    ) -> None:
        self._reader, self._writer, self._sessions = reader, writer, sessions
        self.key = key
        self.session: Session | None = None
        self._last: Session | None = None

    async def greet(self) -> bool:
        """Answer the startup as PostgreSQL would; return False after a rejection was forwarded."""
        try:
            session = await self._sessions.take(None)
        except ConnectionError as error:
            refusal = error.args[0]
            if isinstance(refusal, Message):
                self._writer.write(refusal.raw)
            return False
        settings = b"".join(message.raw for message in session.settings)
        await self._sessions.put_back(session)
        ready = Message(b"K", self.key).raw + Message(b"Z", wire_messages.IDLE).raw
        self._writer.write(Message(b"R", struct.pack("!i", 0)).raw + settings + ready)
        return True

    async def serve(self) -> None:
        """Forward transactions until the connection ends."""
        while True:
            message = await self._next()
            if message is None or message.kind == b"X":
                return
            if self.session is None:
                self.session = await self._sessions.take(self._last)
                self._last = self.session
            self.session.writer.write(message.raw)
            # A complete unit has ended: a statement, a COPY, or a group of the extended protocol.
            if message.kind in b"QcfSF" and not await self._pass_on(self.session):
                return

    async def _next(self) -> Message | None:
        """Return the client's next message; None if its session has ended meanwhile."""
        coming = asyncio.ensure_future(wire_messages.read(self._reader))
        if self.session is None:
            return await coming
        word = asyncio.ensure_future(wire_messages.read(self.session.reader))
        done, late = await asyncio.wait((coming, word), return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if word in done:
            # PostgreSQL ended the session, as no next statement came.
            with contextlib.suppress(*_GONE):
                self._writer.write(word.result().raw)
            return None
        return coming.result()

    async def _pass_on(self, session: Session) -> bool:
        """Forward the answer; return True if the connection continues."""
        while True:
            message = await wire_messages.read(session.reader)
            is_over = message.kind == b"Z" and is_between(message)
            if is_over:
                # First, so that the client's next message finds the session returned.
                self.session = None
                await self._sessions.put_back(session)
            self._writer.write(message.raw)
            await self._writer.drain()
            if message.kind in b"ZG":
                return True

    def close(self) -> None:
        """Close the session of an unfinished transaction."""
        if self.session:
            self._sessions.drop(self.session)
