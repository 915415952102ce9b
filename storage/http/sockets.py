"""What can be read from a socket at once, over TLS as well."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator


@contextlib.contextmanager
def without_waiting(sock: socket.socket) -> Iterator[None]:
    """Make reads of the block return or raise at once.

    A read through TLS, and not poll(): TLS may hold decrypted bytes, and its own messages (session
    tickets, new keys) make a socket readable although no byte of an answer is there.
    """
    timeout_s = sock.gettimeout()
    sock.settimeout(0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(timeout_s)


def byte_at_hand(sock: socket.socket) -> bytes | None:
    """Take one byte if one can be read at once. None: there is none. Empty: the peer has ended."""
    try:
        with without_waiting(sock):
            return sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except OSError:
        return b""
