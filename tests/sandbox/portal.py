"""A sandbox of the PDPJ portal with the behaviour and the faults that PDPJ.md records.

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

    `traffic` counts and limits concurrent requests; `weather` draws latencies and makes bursts.
    """

    def __init__(
        self,
        port: int = 0,
        token: str = TOKEN,
        latency_s: float = 0.0,
        log_path: Path | None = None,
    ) -> None:
        self.token = token
        # Decides which bearer token is valid: `token`, unless a SandboxLogin decides.
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
        """Return all requests so far, in order of arrival, including those to /sandbox."""
        return self.journal.requests()

    @property
    def flights(self) -> list[Flight]:
        """Return the file transfers so far, in the order of their requests."""
        return self.journal.flights()

    @property
    def concurrent_peak(self) -> int:
        """Return the highest number of concurrent file transfers."""
        return self.journal.peak

    def request_count(self, what: UUID | str) -> int:
        """Return how often a document's file (UUID) or a case's listing (number) was requested."""
        wanted = digits(str(what))
        field_of = {"file": "uuid", "list": "number"}
        return sum(
            digits(getattr(request, field_of[request.kind])) == wanted
            for request in self.requests
            if request.kind in field_of
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
        """Add a case of `documents` of `size` bytes each; return its number, new unless given.

        Without `has_arquivo` the listing has neither sizes nor types. `faults` maps positions of
        documents to faults: a name of `portal_faults.FILE_FAULTS` or `case_json.HREF_FAULTS`.
        `list_fault`: one of `portal_faults.LIST_FAULTS`.
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
        """Return the portal's model of the case, for UUIDs and sizes."""
        return self._archive.case(number)

    def hold(self, number: str, after_bytes: int | None = None) -> None:
        """Make the case's file requests wait: unanswered, or after `after_bytes` of the body."""
        self.gates.hold(number, after_bytes)

    def release(self, number: str) -> None:
        self.gates.release(number)

    def wait_held(self, number: str, count: int = 1, timeout_s: float = 30) -> None:
        """Return once `count` file requests of the case are held; TimeoutError otherwise."""
        self.gates.wait_held(number, count, timeout_s)

    def reset(self) -> None:
        """Restart the counters of faults that happen N times before a good answer."""
        self._archive.reset()

    def clear_log(self) -> None:
        """Clear the requests, the visits and the peaks."""
        self.journal.clear()
        self.traffic.clear()

    def answer(self, route: Route, user_agent: str, authorization: str) -> tuple[Reply, float]:
        """Return the answer to a request outside /sandbox, and its delay in seconds."""
        if not route.is_api:
            return replies.PAGE_SHELL, 0.0
        if "Mozilla/" not in user_agent:
            return replies.FIREWALL, self.latency_s
        bearer = authorization.removeprefix("Bearer ")
        if bearer == authorization or not self.accepts(bearer):
            return replies.EXPIRED, self.latency_s
        # To a client it is another host, but it is this server: a request to it would be in the
        # log.
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
    arguments = parser.parse_args()
    with SandboxPortal(
        arguments.port, arguments.token, arguments.latency_ms / 1000, arguments.log
    ) as portal:
        portal.traffic.limit = arguments.limit
        if arguments.median_ms is not None:
            portal.weather.latency(
                Latency(arguments.median_ms / 1000, arguments.sigma, arguments.seed)
            )
        _print_table(portal)
        wait_for_a_signal()


if __name__ == "__main__":
    main()
