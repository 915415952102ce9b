"""A sandbox of the PDPJ portal that behaves, and misbehaves, as PDPJ.md records.

By hand: `python -m tests.sandbox.portal --port 8085`. In tests: `with SandboxPortal() as portal`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from uuid import UUID

from tests.sandbox import replies
from tests.sandbox.admission import Admission
from tests.sandbox.court_cases.archive import Archive
from tests.sandbox.court_cases.case_model import SandboxCase
from tests.sandbox.court_cases.cases import CASES
from tests.sandbox.court_cases.cnj import digits
from tests.sandbox.court_cases.portal_faults import good_count
from tests.sandbox.gates import Gates
from tests.sandbox.latency_profile import Latency, LatencyProfile
from tests.sandbox.portal_server import PortalServer
from tests.sandbox.replies import Reply
from tests.sandbox.request_log import Flight, PortalRequest, RequestLog
from tests.sandbox.routes import Route
from tests.sandbox.serving import wait_for_a_signal

TOKEN = "sandbox-token"


class SandboxPortal:
    """A portal on 127.0.0.1. `token` and `latency_s` may be changed while it serves.

    `traffic` counts and limits who is there at once; `weather` draws latencies and makes bursts.
    """

    def __init__(
        self,
        port: int = 0,
        token: str = TOKEN,
        latency_s: float = 0.0,
        log_path: Path | None = None,
    ) -> None:
        self.token = token
        # Which bearer is good: the token, unless a SandboxLogin decides it.
        self.accepts: Callable[[str], bool] = lambda bearer: bearer == self.token
        self.latency_s = latency_s
        self.gates = Gates()
        self.journal = RequestLog(log_path)
        self.traffic = Admission()
        self.weather = LatencyProfile()
        self._archive = Archive()
        self._port = port
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self._exit.callback(self.journal.close)
        self._server = self._exit.enter_context(PortalServer(self._port, self))
        self._exit.callback(self.gates.release_all)
        self._exit.callback(self._server.closing.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def requests(self) -> list[PortalRequest]:
        """Everything it was asked so far, in order of arrival, its own /sandbox routes too."""
        return self.journal.requests()

    @property
    def flights(self) -> list[Flight]:
        """The files that were on their way to clients so far, in order of the requests."""
        return self.journal.flights()

    @property
    def concurrent_peak(self) -> int:
        """The most file requests that were ever on their way at once."""
        return self.journal.peak

    def request_count(self, what: UUID | str) -> int:
        """How often a document's file was asked for, or, given a number, a case's listing."""
        wanted = digits(str(what))
        asked = {"file": "uuid", "list": "number"}
        return sum(
            digits(getattr(request, asked[request.kind])) == wanted
            for request in self.requests
            if request.kind in asked
        )

    def add_case(
        self,
        *,
        documents: int,
        number: str | None = None,
        size: int = 20_000,
        latency_s: float = 0.0,
        faults: Mapping[int, str] | None = None,
        list_fault: str | None = None,
        kind: str = "pdf",
        has_arquivo: bool = True,
    ) -> str:
        """Make a case of `documents` of `size` bytes each; its number, a new one unless given.

        Without `has_arquivo` the listing gives neither sizes nor types.
        `faults` names what is wrong with the documents at some positions: a name of
        `faults.FILE_FAULTS` or `listing.HREF_FAULTS`. `list_fault`: one of `faults.LIST_FAULTS`.
        """
        return self._archive.add_case(
            documents=documents,
            number=number,
            size=size,
            latency_s=latency_s,
            faults=faults,
            list_fault=list_fault,
            kind=kind,
            has_arquivo=has_arquivo,
        )

    def case(self, number: str) -> SandboxCase | None:
        """The case as the portal knows it, so that a test can look up UUIDs and sizes."""
        return self._archive.case(number)

    def hold(self, number: str, after_bytes: int | None = None) -> None:
        """Make the case's file requests wait: unanswered, or after so many bytes of the body."""
        self.gates.hold(number, after_bytes)

    def release(self, number: str) -> None:
        self.gates.release(number)

    def wait_held(self, number: str, count: int = 1, timeout_s: float = 30) -> None:
        """Return once `count` file requests of the case are held; TimeoutError otherwise."""
        self.gates.wait_held(number, count, timeout_s)

    def reset(self) -> None:
        """Begin anew what happens N times before it is good."""
        self._archive.reset()

    def clear_log(self) -> None:
        """Forget the requests, the visits and the peaks."""
        self.journal.clear()
        self.traffic.clear()

    def answer(self, route: Route, user_agent: str, authorization: str) -> tuple[Reply, float]:
        """What a request outside /sandbox gets, and after how many seconds."""
        if not route.is_api:
            return replies.PAGE_SHELL, 0.0
        if "Mozilla/" not in user_agent:
            return replies.FIREWALL, self.latency_s
        bearer = authorization.removeprefix("Bearer ")
        if bearer == authorization or not self.accepts(bearer):
            return replies.EXPIRED, self.latency_s
        # Another host to a client, yet this server: were it asked, the log would show it.
        foreign_origin = f"http://localhost:{self._server.port}"
        reply, latency_s = self._archive.answer(route, foreign_origin)
        return reply, latency_s + self.latency_s


def _print_table(portal: SandboxPortal) -> None:
    print(f"sandbox portal on {portal.url}")
    print(f"{'number':26}{'slug':22}{'documents':>9}{'good':>6}  what it shows")
    for case in CASES.values():
        counts = f"{len(case.distinct):>9}{good_count(case):>6}"
        print(f"{case.number:26}{case.slug:22}{counts}  {case.title}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A sandbox of the PDPJ portal on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--token", default=TOKEN, help="the one that is good (%(default)s)")
    parser.add_argument("--log", type=Path, help="a file that gets a JSON line per request")
    parser.add_argument("--latency-ms", type=float, default=0, help="added to every answer")
    parser.add_argument("--limit", type=int, help="requests at once; 429 above")
    parser.add_argument("--median-ms", type=float, help="a log-normal latency on top")
    parser.add_argument("--sigma", type=float, default=0.8, help="of that latency (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of that latency (%(default)s)")
    asked = parser.parse_args()
    with SandboxPortal(asked.port, asked.token, asked.latency_ms / 1000, asked.log) as portal:
        portal.traffic.limit = asked.limit
        if asked.median_ms is not None:
            portal.weather.latency(Latency(asked.median_ms / 1000, asked.sigma, asked.seed))
        _print_table(portal)
        wait_for_a_signal()


if __name__ == "__main__":
    main()
