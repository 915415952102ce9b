"""A sender that only sends: it shows the latency that the watchers measure of an ideal server."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.network.http2 import ACK, DATA, END_HEADERS, HEADERS, SETTINGS, frame

TICKS_PER_S = 50
# The size of a message about a document.
PADDING = b"x" * 250


class Bare:
    """Listens and answers every HEADERS frame as a watching stream."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sent: dict[int, float] = {}
        self._streams: list[tuple[socket.socket, int]] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def run(self, seconds: int) -> None:
        """Send one message a second to each stream, spread over the second."""
        begun = time.monotonic()
        for tick in range(1, seconds * TICKS_PER_S + 1):
            self.sent[tick] = time.monotonic()
            together: dict[socket.socket, list[bytes]] = {}
            for connection, stream in self._streams[tick % TICKS_PER_S :: TICKS_PER_S]:
                together.setdefault(connection, []).append(_message(stream, tick))
            for connection, frames in together.items():
                connection.sendall(b"".join(frames))
            time.sleep(max(0.0, begun + tick / TICKS_PER_S - time.monotonic()))

    def close(self) -> None:
        """Close the connections."""
        self._is_over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        pending: dict[socket.socket, bytes] = {}
        while not self._is_over.is_set():
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.sendall(frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, ACK, 0, b""))
                    pending[connection] = b""
                    self._selector.register(connection, selectors.EVENT_READ)
                    continue
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(1 << 18)
                if not data:
                    self._selector.unregister(key.fileobj)
                    continue
                pending[key.fileobj] = self._opened(key.fileobj, pending[key.fileobj] + data)

    def _opened(self, connection: socket.socket, data: bytes) -> bytes:
        """Answer the frames that open a stream; return the incomplete rest of the bytes."""
        if data.startswith(b"PRI"):
            data = data[24:]
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            if data[3] == HEADERS:
                stream = int.from_bytes(data[5:9], "big")
                connection.sendall(frame(HEADERS, END_HEADERS, stream, b"") + _message(stream, 0))
                self._streams.append((connection, stream))
            data = data[end:]
        return data


def _message(stream: int, revision: int) -> bytes:
    """Return a message with the revision as its first field, like WatchProgressResponse."""
    number, rest = b"\x08", revision
    while rest >= 128:
        number += bytes((rest % 128 + 128,))
        rest //= 128
    body = number + bytes((rest,)) + PADDING
    return frame(DATA, 0, stream, b"\0" + struct.pack("!I", len(body)) + body)


@contextmanager
def running_bare() -> Iterator[Bare]:
    """Run such a sender and close it at the end."""
    bare = Bare()
    try:
        yield bare
    finally:
        bare.close()
