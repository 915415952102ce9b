"""The sandbox portal without its server: cases, gates, limits, latencies and the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.sandbox import replies
from tests.sandbox.admission import Admission
from tests.sandbox.court_cases.archive import Archive
from tests.sandbox.court_cases.case_model import SandboxCase
from tests.sandbox.court_cases.cnj import digits
from tests.sandbox.gates import Gates
from tests.sandbox.latency_profile import LatencyProfile
from tests.sandbox.replies import Reply
from tests.sandbox.request_log import Flight, PortalRequest, RequestLog
from tests.sandbox.routes import Route

TOKEN = "sandbox-token"


class PortalState:
    """What the portal answers, and the log of its requests.

    `token` and `latency_s` may be changed while it serves.
    `traffic` counts and limits concurrent requests; `weather` draws latencies and makes bursts.
    """

    def __init__(
        self,
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
        secrecy: int = 0,
        movements: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Add a case of `documents` of `size` bytes each; return its number, new unless given.

        Without `has_arquivo` the listing has neither sizes nor types. `faults` maps positions of
        documents to faults: a name of `portal_faults.FILE_FAULTS` or `case_json.HREF_FAULTS`.
        `list_fault`: one of `portal_faults.LIST_FAULTS`. `movements`: beside those of every case.
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
            secrecy=secrecy,
            movements=movements,
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

    def answer(
        self, route: Route, user_agent: str, authorization: str, foreign_origin: str
    ) -> tuple[Reply, float]:
        """Return the answer to a request outside /sandbox, and its delay in seconds.

        `foreign_origin`: to a client another host, but it is this server.
        """
        if not route.is_api:
            return replies.PAGE_SHELL, 0.0
        if "Mozilla/" not in user_agent:
            return replies.FIREWALL, self.latency_s
        bearer = authorization.removeprefix("Bearer ")
        if bearer == authorization or not self.accepts(bearer):
            return replies.EXPIRED, self.latency_s
        reply, latency_s = self._archive.answer(route, foreign_origin)
        return reply, latency_s + self.latency_s
