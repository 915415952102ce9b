"""Where each process of the Procfile has its metrics page."""

from __future__ import annotations

import socket

from storage.errors import ConfigurationError

# The processes of one environment share METRICS_LISTEN: each takes the port so far after it.
PORT_AFTER = {"server": 0, "worker": 1, "uploader": 2, "notifier": 3, "scheduler": 4}
# What a parent has opened, for the processes that Dramatiq forks: the number of its descriptor.
INHERITED = "AUTOS_METRICS_DESCRIPTOR"


def listen(address: str, process: str) -> socket.socket:
    """A socket that listens where `process` has its page; any free port for port 0.

    Raises ConfigurationError when the address cannot be had.
    """
    host, _, port = address.rpartition(":")
    number = int(port) + (PORT_AFTER[process] if int(port) else 0)
    try:
        family = socket.getaddrinfo(host.strip("[]"), number, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host.strip("[]"), number), family=family)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ConfigurationError(
            f"METRICS_LISTEN: {host}:{number} cannot be listened on; "
            "stop what uses it or set METRICS_LISTEN to another address."
        ) from error
    # Several processes may accept on it: whoever comes second must not wait.
    listener.setblocking(False)
    return listener
