"""Connections through a proxy, and the traps that are laid for them."""

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
    """What happens to the next `times` connections that fit.

    cut-before: what holds `pattern` is not passed on; the connection is cut. lose-answer: it is
    passed on, but the answer is not. cut-up, cut-down: cut once more than `after_bytes` have passed
    towards the server, or the client.
    """

    does: Literal["cut-before", "lose-answer", "cut-up", "cut-down"]
    times: int
    pattern: bytes = b""
    after_bytes: int = 0


@dataclass(eq=False)
class Link:
    """A client's connection and ours to the server."""

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    loses_answer: bool = False

    @property
    def client_port(self) -> int:
        return int(self.client.get_extra_info("peername")[1])

    @property
    def upstream_port(self) -> int:
        """The port from which the server sees us; 0 for a Unix socket."""
        name = self.upstream.get_extra_info("sockname")
        return int(name[1]) if isinstance(name, tuple) else 0


def fits(trap: Trap, link: Link, way: Way, chunk: bytes) -> bool:
    """Whether this chunk springs the trap."""
    if trap.does in ("cut-up", "cut-down"):
        return trap.does == f"cut-{way}" and link.passed[way] > trap.after_bytes
    return way == "up" and trap.pattern in chunk


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a connection ends that was cut."""
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
