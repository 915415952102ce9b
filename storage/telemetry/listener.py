"""The address of the metrics page of each process of the Procfile."""

from __future__ import annotations

import socket

from storage.errors import ConfigurationError

# The processes of one environment share METRICS_LISTEN. Each takes the port with this offset.
PORT_AFTER = {"server": 0, "worker": 1, "uploader": 2, "notifier": 3, "scheduler": 4}
# The number of a descriptor that a parent has opened for the processes that Dramatiq forks.
INHERITED = "AUTOS_METRICS_DESCRIPTOR"


def listen(address: str, process: str) -> socket.socket:
    """Return a socket that listens at the page's address of `process`; port 0: any free port.

    Raises ConfigurationError if the address is not available.
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
    # Several processes may accept on it: a process that comes second must not block.
    listener.setblocking(False)
    return listener
