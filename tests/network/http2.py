"""A gRPC caller over a bare socket: cheaper than gRPC's own, and able to break the rules.

It has just enough of HTTP/2 (RFC 9113) for server streams. Reading costs a few microseconds a
message, so the caller does not slow the server that it measures. It decides itself when to open the
flow-control windows, so it can act as a reader that stops reading.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE = 1, 2, 4
WIDE_OPEN = 2**31 - 1
DEFAULT_WINDOW = 65_535
# The window of a connection is opened again after this number of bytes.
REFILL_BYTES = 1_000_000
FRAME_HEADER, MESSAGE_HEADER = 9, 5


class Event(NamedTuple):
    """A message, the end of a stream (`message` is None), or of the connection (`stream` is 0).

    `trailers` of an end are the raw header block; empty if the stream was reset.
    """

    stream: int
    message: bytes | None
    trailers: bytes = b""


class Caller:
    """One connection. `window`: bytes that a stream may send before it waits for ever."""

    def __init__(self, host: str, port: int, *, window: int = WIDE_OPEN) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._authority = f"{host}:{port}".encode()
        self._next_stream = 1
        self._bytes = bytearray()
        self._parts: dict[int, bytearray] = {}
        self._to_refill = 0
        settings = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: window}
        body = b"".join(struct.pack("!HI", *pair) for pair in settings.items())
        more = struct.pack("!I", WIDE_OPEN - DEFAULT_WINDOW)
        self._send(PREFACE, frame(SETTINGS, 0, 0, body), frame(WINDOW_UPDATE, 0, 0, more))

    def open(self, path: str, *messages: bytes, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Call a method once per request, in one write; return the first stream's number.

        The numbers of the others are 2, 4, 6, ... higher.
        """
        first, block = self._next_stream, self._header_block(path, metadata)
        frames: list[bytes] = []
        for message in messages:
            framed = b"\0" + struct.pack("!I", len(message)) + message
            frames.append(frame(HEADERS, END_HEADERS, self._next_stream, block))
            frames.append(frame(DATA, END_STREAM, self._next_stream, framed))
            self._next_stream += 2
        self._send(*frames)
        return first

    def read(self) -> list[Event]:
        """Return the events that have arrived; wait for the first bytes only."""
        fresh = self.socket.recv(1 << 18)
        if not fresh:
            return [Event(0, None)]
        events: list[Event] = []
        self._bytes += fresh
        data, begin = bytes(self._bytes), 0
        while len(data) - begin >= FRAME_HEADER:
            size = int.from_bytes(data[begin : begin + 3], "big")
            body = begin + FRAME_HEADER
            if len(data) < body + size:
                break
            kind, flags = data[begin + 3], data[begin + 4]
            stream = int.from_bytes(data[begin + 5 : body], "big")
            if kind == DATA:
                events += self._messages(stream, data[body : body + size])
            if kind not in (DATA, HEADERS) or flags & END_STREAM:
                events += self._events(kind, flags, stream, data[body : body + size])
            begin = body + size
        del self._bytes[:begin]
        return events

    def close(self) -> None:
        """Close the connection without notice."""
        self.socket.close()

    def _messages(self, stream: int, data: bytes) -> Iterator[Event]:
        self._to_refill += len(data)
        if self._to_refill > REFILL_BYTES:
            self._send(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", self._to_refill)))
            self._to_refill = 0
        if stream in self._parts:
            data = bytes(self._parts.pop(stream)) + data
        begin = 0
        while len(data) - begin >= MESSAGE_HEADER:
            end = begin + MESSAGE_HEADER + int.from_bytes(data[begin + 1 : begin + 5], "big")
            if len(data) < end:
                break
            yield Event(stream, data[begin + MESSAGE_HEADER : end])
            begin = end
        if begin < len(data):
            self._parts[stream] = bytearray(data[begin:])

    def _events(self, kind: int, flags: int, stream: int, body: bytes) -> Iterator[Event]:
        if kind in (DATA, HEADERS, RST_STREAM):
            self._parts.pop(stream, None)
            yield Event(stream, None, body if kind == HEADERS else b"")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._send(frame(kind, ACK, 0, body if kind == PING else b""))

    def _header_block(self, path: str, metadata: Sequence[tuple[str, str]]) -> bytes:
        fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._authority.decode()),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        )
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)

    def _send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """Return a frame as it is sent over the wire."""
    return struct.pack("!I", len(body))[1:] + struct.pack("!BBI", kind, flags, stream) + body


def _text(text: str) -> bytes:
    """Return an uncompressed HPACK string literal; a lone surrogate is a byte that is not UTF-8."""
    raw = text.encode(errors="surrogateescape")
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, size = len(raw) - 127, bytearray((127,))
    while rest >= 128:
        size.append(rest % 128 + 128)
        rest //= 128
    return bytes((*size, rest)) + raw
