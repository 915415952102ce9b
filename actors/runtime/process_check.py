"""`python -m actors check ROLE`: whether a process of this host works, for probes."""

from __future__ import annotations

import http.client
from contextlib import closing

from storage.errors import ConfigurationError
from storage.telemetry.process_signals import PORT_AFTER

TIMEOUT_S = 5.0
# An address that means all of a host's, and the one by which this host reaches itself.
_OWN = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing listens here


def check(metrics_listen: str | None, role: str) -> bool:
    """Return whether the metrics page of `role` answers; print one line.

    A process serves its page once it has begun its work, so one that waits for `release` does not
    answer. Raises ConfigurationError if there is no page.
    """
    if metrics_listen is None or metrics_listen.endswith(":0"):
        raise ConfigurationError("check requests the metrics page: set METRICS_LISTEN with a port.")
    host, _, port = metrics_listen.rpartition(":")
    address = f"{_OWN.get(host, host)}:{int(port) + PORT_AFTER[role]}"
    problem = _problem(address)
    print(f"{role} works" if problem is None else f"{address}: {problem}")  # noqa: T201 - a command
    return problem is None


def _problem(address: str) -> str | None:
    try:
        with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/metrics")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None if status == http.client.OK else f"status {status}"
