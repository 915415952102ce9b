"""The requests to the portal, and the number of concurrent file transfers."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.sandbox.court_cases.cnj import digits


@dataclass(frozen=True)
class PortalRequest:
    """A request with its result, decided on arrival. `time` is in seconds since 1970.

    `kind` is "list", "file", "text", "control" (below /sandbox) or "other". No header except the
    User-Agent is stored, so no token can be.
    """

    time: float
    method: str
    path: str
    status: int
    user_agent: str
    kind: str
    number: str | None
    uuid: str | None


@dataclass
class Flight:
    """A file transfer to the client at `port`; times in seconds since 1970, `end` None: running."""

    number: str
    uuid: str
    port: int
    begin: float
    end: float | None = None


class RequestLog:
    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._requests: list[PortalRequest] = []
        self._flights: list[Flight] = []
        self._file = path.open("a", encoding="utf-8") if path else None
        self._in_flight = 0
        self._peak = 0

    def close(self) -> None:
        with self._lock:
            if self._file:
                self._file.close()
            self._file = None

    def add(self, request: PortalRequest) -> None:
        with self._lock:
            self._requests.append(request)
            if self._file:
                self._file.write(json.dumps(asdict(request)) + "\n")
                self._file.flush()

    def requests(self, number: str | None = None) -> list[PortalRequest]:
        with self._lock:
            found = list(self._requests)
        if number is None:
            return found
        return [each for each in found if digits(each.number or "") == digits(number)]

    def clear(self) -> None:
        """Clear the requests and the peak. Running transfers count again from here on."""
        with self._lock:
            self._requests.clear()
            self._flights = [flight for flight in self._flights if flight.end is None]
            self._peak = self._in_flight

    def flights(self) -> list[Flight]:
        """Return the transfers, in order of the requests' arrival."""
        with self._lock:
            return [replace(flight) for flight in self._flights]

    @contextlib.contextmanager
    def in_flight(self, number: str, uuid: str, port: int) -> Iterator[Callable[[], None]]:
        """Count a transfer as running until the block ends or the yielded function is called."""
        flight = Flight(number, uuid, port, time.time())

        def landed() -> None:
            with self._lock:
                if flight.end is None:
                    flight.end = time.time()
                    self._in_flight -= 1

        with self._lock:
            self._flights.append(flight)
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
        try:
            yield landed
        finally:
            landed()

    @property
    def peak(self) -> int:
        with self._lock:
            return self._peak
