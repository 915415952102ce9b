"""Connections that complete HTTP/2's handshake and make no call."""

from __future__ import annotations

import socket

# HTTP/2's preface and an empty SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"


def silent_connection(address: tuple[str, int]) -> socket.socket:
    """Open a connection without a call."""
    connection = socket.create_connection(address)
    connection.sendall(PREFACE)
    connection.setblocking(False)
    return connection


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not closed the connection."""
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    return False
