"""Connections through a proxy, and the traps that cut them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["up", "down"]


@dataclass(frozen=True)
class Trap:
    """A fault of the next `times` matching connections.

    cut-before: a chunk with `pattern` is not forwarded; the connection is cut. lose-answer: the
    chunk is forwarded, but its answer is not. cut-up, cut-down: the connection is cut after more
    than `after_bytes` bytes towards the server, or the client.
    """

    does: Literal["cut-before", "lose-answer", "cut-up", "cut-down"]
    times: int
    pattern: bytes = b""
    after_bytes: int = 0


@dataclass(eq=False)
class Link:
    """A client's connection and the proxy's own to the server."""

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    loses_answer: bool = False

    @property
    def client_port(self) -> int:
        return int(self.client.get_extra_info("peername")[1])

    @property
    def upstream_port(self) -> int:
        """Return the port from which the server sees the proxy; 0 for a Unix socket."""
        name = self.upstream.get_extra_info("sockname")
        return int(name[1]) if isinstance(name, tuple) else 0


def fits(trap: Trap, link: Link, way: Way, chunk: bytes) -> bool:
    """Return True if this chunk springs the trap."""
    if trap.does in ("cut-up", "cut-down"):
        return trap.does == f"cut-{way}" and link.passed[way] > trap.after_bytes
    return way == "up" and trap.pattern in chunk


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a broken connection ends."""
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
