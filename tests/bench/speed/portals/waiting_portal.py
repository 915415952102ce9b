"""A portal that waits before it answers and does little else: one process, one event loop.

`python -m tests.bench.speed.portals.waiting_portal --port N --median S --sigma X --seed N`. It has
every case: the last four digits of a case's number are its number of documents.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor
from tests.bench.speed.latency_model import LogNormalLatency
from tests.bench.speed.portals.static_portal import START_S, answers
from tests.sandbox.court_cases.case_json import listing
from tests.sandbox.court_cases.case_model import Branch, SandboxCase, document
from tests.sandbox.court_cases.document_bytes import content
from tests.system.running_autos import free_port

SIZE_BYTES = 2_048
API = "/api/v2/processos/"


@lru_cache(maxsize=512)
def case_of(number: str) -> SandboxCase:
    """Return the case of a number; every case exists."""
    # Of different sizes, as real files: equal ones would need a connection each.
    positions = range(int(number[-4:]))
    made = (document(number, each, size_bytes=SIZE_BYTES + each) for each in positions)
    return SandboxCase("bench", number, "made by a bench", Branch(tuple(made)))


class Answerer(asyncio.Protocol):
    """One connection: GET only, one request at a time, as our clients send them."""

    def __init__(self, drawn: LogNormalLatency) -> None:
        self._drawn = drawn
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a complete request after its latency."""
        self._received += data
        if b"\r\n\r\n" not in self._received:
            return
        path = self._received.split(b" ", 2)[1].decode()
        self._received = b""
        latency_s, kind, body = self._answer(path)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        whole = head.encode() + body
        asyncio.get_running_loop().call_later(latency_s, self._transport.write, whole)

    def _answer(self, path: str) -> tuple[float, str, bytes]:
        number, _, rest = path.removeprefix(API).partition("/")
        if not rest:
            known = path.startswith(API)
            body = listing(case_of(number), foreign_origin="") if known else []
            return 0.0, "application/json", json.dumps(body).encode()
        wanted = case_of(number).by_uuid[rest.split("/")[1]]
        body = content("pdf", wanted.uuid, wanted.size_bytes)
        return self._drawn.of(number, wanted.position), "application/pdf", body


async def serve(port: int, drawn: LogNormalLatency) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answerer(drawn), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


@contextmanager
def running_waiting_portal(
    drawn: LogNormalLatency, write_line: Callable[[str], None]
) -> Iterator[str]:
    """Run such a portal for the length of the block and yield its address."""
    port = free_port()
    options = {"port": port, "median": drawn.median_s, "sigma": drawn.sigma, "seed": drawn.seed}
    words = [sys.executable, "-m", "tests.bench.speed.portals.waiting_portal"]
    words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    keeper = Supervisor({"portal": words}, {"PYTHONUNBUFFERED": "1"}, ROOT, write_line)
    try:
        keeper.start()
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), START_S, "The portal does not answer.")
        yield url
    finally:
        keeper.stop()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--median", type=float, required=True)
    parser.add_argument("--sigma", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.port, LogNormalLatency(given.median, given.sigma, given.seed)))


if __name__ == "__main__":
    main()
