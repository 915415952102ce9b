"""The socket's file under a chunked body: pass all bytes on, and check the framing.

urllib3 and http.client both decode chunks. Both accept an invalid size (`0x5`, `-1`) and any two
bytes as the line end behind a chunk. Neither reports whether the last line was there.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket

_SIZE_LINE = re.compile(rb"(0{0,64}[0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?(\r?\n)")
_LINE_END = b"\r\n"
TRAILER_MAX_BYTES = 64 * 1024


class BadChunk(http.client.HTTPException):
    """The framing of a chunked body is wrong, so its end is unknown."""


class ChunkedBody:
    """Replace the socket's file of http.client.

    `is_ended`: the last chunk and the empty line behind it were read. `is_odd`: a line ended in a
    form that HTTP does not allow. `size_bytes`: of the chunks so far.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left = 0  # of the chunk, including the line end behind it
        self._trailer_bytes: int | None = None
        self.is_ended = False
        self.is_odd = False
        self.size_bytes = 0

    def readline(self, limit: int = -1) -> bytes:
        """Read the line of a size or of the trailer. Raises BadChunk."""
        line = self._file.readline(limit)
        self.is_odd = self.is_odd or not line.endswith(_LINE_END)
        if self._trailer_bytes is not None:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > TRAILER_MAX_BYTES:
                raise BadChunk("The trailer is too long.")
            self.is_ended = line == _LINE_END
        elif line:
            self._begin_chunk(line)
        return line

    def read(self, size: int) -> bytes:
        """Read `size` bytes of a chunk, fewer at the end of the connection. Raises BadChunk."""
        piece = self._file.read(size)
        self._pass(piece)
        return piece

    def read1(self, size: int) -> bytes:
        """Read up to `size` bytes of a chunk. Raises BadChunk."""
        piece = self._file.read1(size)
        self._pass(piece)
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read bytes of a chunk into `buffer`; return how many. Raises BadChunk."""
        count = self._file.readinto(buffer)
        self._pass(bytes(memoryview(buffer)[max(0, count - 2) : count]), count)
        return count

    def peek(self, size: int = 0) -> bytes:
        """Return the buffered bytes without consuming them."""
        return self._file.peek(size)

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._file.fileno()

    def flush(self) -> None:
        """Do nothing: this file is only read."""

    def close(self) -> None:
        """Close the file of the socket."""
        self._file.close()

    def _begin_chunk(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if not found or self._left:
            raise BadChunk("The size of a chunk is unreadable.")
        size = int(found[1], 16)
        self.size_bytes += size
        self._left = size + len(_LINE_END) if size else 0
        self._trailer_bytes = None if size else 0

    def _pass(self, piece: bytes, count: int | None = None) -> None:
        self._left -= len(piece) if count is None else count
        if self._left < 0 or (not self._left and piece[-2:] != _LINE_END):
            raise BadChunk("A chunk is longer than its size.")


def bytes_at_hand(file: io.BufferedReader | ChunkedBody, sock: socket.socket) -> bytes:
    """Return the bytes that are ready in a socket's file, and leave them there."""
    timeout_s = sock.gettimeout()
    sock.settimeout(0)
    try:
        return file.peek(1)
    except OSError:
        return b""
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(timeout_s)
