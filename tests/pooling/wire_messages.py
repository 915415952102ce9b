"""Messages of PostgreSQL's wire protocol, version 3, as far as a pooler reads them."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
PROTOCOL_3 = 196608
# Parameters that pgbouncer accepts at the start of a connection.
STARTUP = frozenset(
    [
        "user",
        "database",
        "client_encoding",
        "datestyle",
        "timezone",
        "standard_conforming_strings",
        "application_name",
    ]
)
IDLE = b"I"


@dataclass(frozen=True)
class Message:
    """One message with its type; `body` follows the length."""

    kind: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """Return the bytes of the wire format."""
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body


async def read(reader: asyncio.StreamReader) -> Message:
    """Return the next message. Raises IncompleteReadError at the end of the connection."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return Message(head[:1], await reader.readexactly(length - 4))


async def read_startup(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the start of a connection: the number of the request, and the bytes after it."""
    length, code = struct.unpack("!ii", await reader.readexactly(8))
    return code, await reader.readexactly(length - 8)


def startup(user: str, database: str) -> bytes:
    """Return a startup message without options."""
    names = ("user", user, "database", database)
    body = struct.pack("!i", PROTOCOL_3) + b"".join(n.encode() + b"\0" for n in names) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def parameters(body: bytes) -> dict[str, str]:
    """Return the names and values of a startup message."""
    parts = body.rstrip(b"\0").decode().split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def query(sql: str) -> Message:
    """Return a statement in the simple protocol."""
    return Message(b"Q", sql.encode() + b"\0")


def fatal(text: str, state: str = "08P01") -> Message:
    """Return an error that ends the connection."""
    fields = {b"S": "FATAL", b"V": "FATAL", b"C": state, b"M": text}
    return Message(b"E", b"".join(k + v.encode() + b"\0" for k, v in fields.items()) + b"\0")


def columns(row: Message) -> list[str]:
    """Return the values of a DataRow, NULL as the empty text."""
    (count,) = struct.unpack("!h", row.body[:2])
    at, found = 2, []
    for _ in range(count):
        (length,) = struct.unpack("!i", row.body[at : at + 4])
        at += 4
        found.append(row.body[at : at + max(0, length)].decode())
        at += max(0, length)
    return found
