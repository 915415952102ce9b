"""TCP proxies with the faults of networks: refuse, cut, stall, lose an answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from tests.network.loop_thread import LoopThread
from tests.network.proxy_links import Link, Trap, Way, fits, reset

Upstream = tuple[str, int] | Path

CHUNK_BYTES = 65_536


class Proxy:
    """A proxy on a free port of 127.0.0.1 for a TCP address or a Unix socket.

    Every method may be called from any thread, and returns when it is done.
    """

    def __init__(self, loop: LoopThread, upstream: Upstream) -> None:
        self._loop = loop
        self._upstream = upstream
        self._flows = asyncio.Event()
        self._flows.set()
        self._canned: bytes | None = None
        self._trap: Trap | None = None
        self._trap_left = 0
        self._links: set[Link] = set()
        self._marks: list[tuple[int, float]] = []
        self._server: asyncio.Server | None = None
        self.port = 0
        loop.run(self._listen())

    def close(self) -> None:
        """Cut all connections and accept no more."""
        self.refuse()

    def refuse(self) -> None:
        """Refuse new connections and cut the existing ones."""
        self._loop.run(self._refuse())

    def stall(self) -> None:
        """Forward nothing in either direction. Connections are still accepted."""
        self._loop.run(self._stall())

    def cut(self) -> None:
        """Cut all existing connections."""
        self._loop.run(self._cut())

    def answer(self, canned: bytes) -> None:
        """Cut existing connections, and answer every request with these bytes."""
        self._loop.run(self._answer_with(canned))

    def set_trap(self, trap: Trap) -> None:
        """Set a trap; it replaces the previous one."""
        self._loop.run(self._set_trap(trap))

    def resume(self) -> None:
        """Forward bytes without faults again."""
        self._loop.run(self._resume())

    def mark(self, client_ports: Iterable[int], until: float) -> None:
        """Mark the connections at these ports as disturbed until then (Unix time)."""
        self._loop.run(self._mark(set(client_ports), until))

    @property
    def marks(self) -> list[tuple[int, float]]:
        """Return the server-side ports of disturbed connections, each with its last moment."""
        return list(self._marks)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for link in list(self._links):
            self._cut_link(link)

    async def _stall(self) -> None:
        self._flows.clear()

    async def _answer_with(self, canned: bytes) -> None:
        self._canned = canned
        await self._cut()

    async def _set_trap(self, trap: Trap) -> None:
        self._trap, self._trap_left = trap, trap.times
        for link in self._links:
            link.passed = {"up": 0, "down": 0}

    async def _resume(self) -> None:
        self._canned = self._trap = None
        if not self._flows.is_set():
            for link in self._links:
                self._marks.append((link.upstream_port, time.time()))
        self._flows.set()
        if self._server is None:
            await self._listen()

    async def _mark(self, client_ports: set[int], until: float) -> None:
        for link in self._links:
            if link.client_port in client_ports:
                self._marks.append((link.upstream_port, until))

    def _cut_link(self, link: Link) -> None:
        self._marks.append((link.upstream_port, time.time()))
        reset(link.client)
        reset(link.upstream)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._flows.wait()
            if self._canned is not None:
                await reader.read(CHUNK_BYTES)
                writer.write(self._canned)
                return
            await self._join(reader, writer)
        except OSError:
            reset(writer)
        finally:
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await self._connect()
        link = Link(writer, to_server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._pump(link, "up", reader, to_server)),
            asyncio.create_task(self._pump(link, "down", from_server, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._links.discard(link)
            to_server.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(str(self._upstream))
        return await asyncio.open_connection(*self._upstream)

    async def _pump(
        self, link: Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                if self._is_caught(link, way, chunk):
                    self._cut_link(link)
                    return
                writer.write(chunk)
                await writer.drain()

    def _is_caught(self, link: Link, way: Way, chunk: bytes) -> bool:
        """Return True if the connection must be cut before this chunk is forwarded."""
        if way == "down" and link.loses_answer:
            return True
        link.passed[way] += len(chunk)
        trap = self._trap
        if trap is None or not self._trap_left or not fits(trap, link, way, chunk):
            return False
        self._trap_left -= 1
        link.loses_answer = trap.does == "lose-answer"
        return not link.loses_answer
