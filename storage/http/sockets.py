"""Read the bytes that a socket has ready, over TLS as well.

The functions use a non-blocking read instead of poll(). TLS may hold decrypted bytes, and its own
messages (session tickets, new keys) make a socket readable although no byte of an answer is there.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl

from storage.http.chunked_body import ChunkedBody


def byte_at_hand(sock: socket.socket) -> bytes | None:
    """Take one byte if one is ready. None: there is none. Empty: the peer has ended.

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
