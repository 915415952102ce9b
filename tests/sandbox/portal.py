"""A sandbox of the PDPJ portal with the behaviour and the faults of docs/reference/portal.md.

By hand: `python -m tests.sandbox.portal --port 8085`. In tests: `with SandboxPortal() as portal`.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.sandbox.court_cases.cases import CASES
from tests.sandbox.court_cases.portal_faults import good_count
from tests.sandbox.latency_profile import Latency
from tests.sandbox.portal_server import PortalServer
from tests.sandbox.portal_state import TOKEN, PortalState
from tests.sandbox.serving import wait_for_a_signal


class SandboxPortal(PortalState):
    """A portal on `host`, by default on this machine only."""

    def __init__(
        self,
        port: int = 0,
        token: str = TOKEN,
        latency_s: float = 0.0,
        log_path: Path | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(token, latency_s, log_path)
        self._port, self._host = port, host
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self._exit.callback(self.journal.close)
        self._server = self._exit.enter_context(PortalServer(self._port, self, self._host))
        self._exit.callback(self.gates.release_all)
        self._exit.callback(self._server.closing.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"


def _print_table(portal: SandboxPortal) -> None:
    print(f"sandbox portal on {portal.url}")
    print(f"{'number':26}{'slug':22}{'documents':>9}{'good':>6}  what it shows")
    for case in CASES.values():
        counts = f"{len(case.distinct):>9}{good_count(case):>6}"
        print(f"{case.number:26}{case.slug:22}{counts}  {case.title}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A sandbox of the PDPJ portal.")
    parser.add_argument("--host", default="127.0.0.1", help="the address (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--token", default=TOKEN, help="the one that is good (%(default)s)")
    parser.add_argument("--log", type=Path, help="a file that gets a JSON line per request")
    parser.add_argument("--latency-ms", type=float, default=0, help="added to every answer")
    parser.add_argument("--limit", type=int, help="requests at once; 429 above")
    parser.add_argument("--median-ms", type=float, help="a log-normal latency on top")
    parser.add_argument("--sigma", type=float, default=0.8, help="of that latency (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of that latency (%(default)s)")
    asked = parser.parse_args()
    latency_s = asked.latency_ms / 1000
    with SandboxPortal(asked.port, asked.token, latency_s, asked.log, asked.host) as portal:
        portal.traffic.limit = asked.limit
        if asked.median_ms is not None:
            portal.weather.latency(Latency(asked.median_ms / 1000, asked.sigma, asked.seed))
        _print_table(portal)
        wait_for_a_signal()


if __name__ == "__main__":
    main()
