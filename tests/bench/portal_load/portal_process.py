"""Run the sandbox portal in its own process and control it over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import requests

from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor
from tests.sandbox.admission import Visit
from tests.sandbox.latency_profile import Burst, Latency
from tests.system.running_autos import free_port

TOKEN = "bench-portal-token"
START_S = 30.0


@dataclass(frozen=True)
class Counts:
    """The portal's own counters."""

    peak: int
    peaks: dict[str, int]
    refused: int


class RemotePortal:
    """A client of the portal's control routes."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url = url
        self._session = session

    def add_case(self, number: str, documents: int, size: int) -> None:
        """Add a case of `documents` documents of `size` bytes."""
        self._call("POST", "cases", {"number": number, "documents": documents, "size": size})

    def limit(self, limit: int, *, retry_after_s: float) -> None:
        """From now on answer 429 above `limit` requests at once."""
        self._call("PUT", "traffic", {"limit": limit, "retry_after_s": retry_after_s})

    def latency(self, latency: Latency) -> None:
        """From now on draw latencies from this distribution."""
        self._call("PUT", "latency", asdict(latency))

    def plan(self, bursts: Sequence[Burst]) -> float:
        """Plan these bursts, counted from the returned moment."""
        return float(self._call("PUT", "bursts", [asdict(burst) for burst in bursts])["time"])

    def visits(self) -> list[Visit]:
        """Return every request so far, or since `clear`."""
        return [Visit(**visit) for visit in self._call("GET", "visits")]

    def counts(self) -> Counts:
        """Return the portal's peaks and refusals."""
        traffic = self._call("GET", "traffic")
        return Counts(traffic["peak"], traffic["peaks"], traffic["refused"])

    def clear(self) -> None:
        """Clear the log and the peaks."""
        self._call("DELETE", "log")

    def _call(self, method: str, what: str, value: Any = None) -> Any:
        url = f"{self.url}/sandbox/{what}"
        answer = self._session.request(method, url, json=value, timeout=60)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def running_portal(write_line: Callable[[str], None]) -> Iterator[RemotePortal]:
    """Run a portal on a free port for the length of the block."""
    port = free_port()
    words = (sys.executable, "-m", "tests.sandbox.portal", "--port", str(port), "--token", TOKEN)
    keeper = Supervisor({"portal": words}, {"PYTHONUNBUFFERED": "1"}, ROOT, write_line)
    try:
        keeper.start()
        with requests.Session() as session:
            session.trust_env = False
            portal = RemotePortal(f"http://127.0.0.1:{port}", session)
            until(lambda: _answers(portal), START_S, "The portal does not answer.")
            yield portal
    finally:
        keeper.stop()


def _answers(portal: RemotePortal) -> bool:
    try:
        portal.counts()
    except requests.ConnectionError:
        return False
    return True
