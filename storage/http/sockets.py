"""What can be read from a socket at once, over TLS as well.

By a read that does not wait, and not by poll(): TLS may hold decrypted bytes, and its own messages
(session tickets, new keys) make a socket readable although no byte of an answer is there.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl

from storage.http.chunked_body import ChunkedBody


def byte_at_hand(sock: socket.socket) -> bytes | None:
    """Take one byte if one can be read at once. None: there is none. Empty: the peer has ended.

    Raises ssl.SSLError for an alert of the peer, which is read only once.
    """
    timeout_s = sock.gettimeout()
    sock.settimeout(0)
    try:
        return sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return b""
    except ssl.SSLError:
        raise
    except OSError:
        return b""
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(timeout_s)


def bytes_at_hand(file: io.BufferedReader | ChunkedBody, sock: socket.socket) -> bytes:
    """Return what can be read at once from the file of a socket, and leave it there."""
    timeout_s = sock.gettimeout()
    sock.settimeout(0)
    try:
        return file.peek(1)
    except OSError:
        return b""
    finally:
        with contextlib.suppress(OSError):
            sock.settimeout(timeout_s)
