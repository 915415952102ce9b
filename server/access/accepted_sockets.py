"""The connections that gRPC has accepted in this process, and how to close one.

gRPC lists no connections to Python and closes none. But its sockets are open files of this process,
so /proc has them.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing
from typing import NamedTuple

OPEN_FILES = "/proc/self/fd"
_MAPPED = "::ffff:"


class Accepted(NamedTuple):
    """A connection of a caller.

    `inode` identifies the socket, since numbers of files are used again. `peer`: address and port.
    """

    inode: int
    descriptor: int
    peer: str


class AcceptedSockets:
    """Lists the connections to one port of this process. `port`: the port of the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        # By inode: the connection, or None for any other socket. A look asks only new sockets.
        self._seen: dict[int, Accepted | None] = {}

    def look(self) -> list[Accepted]:
        """Return all open connections."""
        seen: dict[int, Accepted | None] = {}
        for name in os.listdir(OPEN_FILES):  # noqa: PTH208 - thousands of names, often
            descriptor = int(name)
            try:
                found = os.fstat(descriptor)
            except OSError:
                continue
            if not stat.S_ISSOCK(found.st_mode):
                continue
            inode = found.st_ino
            seen[inode] = self._seen[inode] if inode in self._seen else self._of(inode, descriptor)
        self._seen = seen
        return [each for each in seen.values() if each is not None]

    def _of(self, inode: int, descriptor: int) -> Accepted | None:
        try:
            with closing(_copy(descriptor)) as copy:
                own, peer = copy.getsockname(), copy.getpeername()
        except OSError:
            # A listener, or a connection that has ended.
            return None
        if not isinstance(own, tuple) or own[1] != self._port:
            return None
        return Accepted(inode, descriptor, peer_name(peer[0], peer[1]))


def close(connection: Accepted) -> None:
    """Shut a connection down. gRPC then ends its calls and closes it."""
    try:
        with closing(_copy(connection.descriptor)) as copy:
            # The copy keeps the socket, so the check holds until it is shut down.
            if os.fstat(copy.fileno()).st_ino == connection.inode:
                copy.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It has ended meanwhile.
        return


def _copy(descriptor: int) -> socket.socket:
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def peer_name(host: str, port: int) -> str:
    """Return a peer as `peer_of` does. An IPv4 address in an IPv6 one counts as IPv4."""
    host = host.partition("%")[0].removeprefix(_MAPPED)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
