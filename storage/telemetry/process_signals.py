"""The signals of one process: its counters with their page, and its tracer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from storage.errors import ConfigurationError
from storage.settings import Settings
from storage.spool import Spool
from storage.telemetry.series import NOOP_RECORDER
from storage.telemetry.signals import Signals
from storage.telemetry.tracing import NO_TRACER, Tracer

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

# Created only where there is a page: without one prometheus_client is not imported.
MakeGauges = Callable[[], "Collector"]
# The processes of one environment share METRICS_LISTEN. Each takes the port with this offset.
PORT_AFTER = {"server": 0, "worker": 1, "uploader": 2, "notifier": 3, "scheduler": 4}
# The number of a descriptor that a parent has opened for the processes that Dramatiq forks.
INHERITED = "AUTOS_METRICS_DESCRIPTOR"


@contextmanager
def signals_of(
    settings: Settings,
    process: str,
    listener: socket.socket | None,
    gauges: MakeGauges | None = None,
) -> Iterator[Signals]:
    """Open the signals of this process for the block. Serve their page on `listener`.

    `gauges`: further gauges of the page. Call this after a fork.
    """
    with closing(tracer_of(settings.otlp_endpoint, process)) as tracer:
        if listener is None:
            yield Signals(NOOP_RECORDER, tracer)
            return
        from storage.telemetry.counters import Counters
        from storage.telemetry.page import served

        counters = Counters()
        with served(listener, counters.shown(gauges() if gauges else None)):
            yield Signals(counters, tracer)


def inherited_listener(environ: Mapping[str, str]) -> socket.socket | None:
    """Return the socket that the parent of a forked process has opened for the page."""
    descriptor = environ.get(INHERITED)
    return socket.socket(fileno=int(descriptor)) if descriptor else None


def scheduler_gauges(is_leading: Callable[[], bool]) -> MakeGauges:
    """Return a function that makes the gauge of a scheduler: whether it leads."""
    return _reading(
        lambda: [("autos_scheduler_leads", "1 while this scheduler leads", float(is_leading()))]
    )


def spool_gauges(spool: Spool) -> MakeGauges:
    """Return a function that makes the gauges of a spool, read from its folder."""

    def read() -> Iterator[tuple[str, str, float]]:
        files, size_bytes = spool.usage()
        yield "autos_spool_bytes", "Bytes in the spool, reserved ones included", size_bytes
        yield "autos_spool_files", "Files in the spool", files
        yield "autos_spool_limit_bytes", "SPOOL_MAX_BYTES", spool.max_bytes

    return _reading(read)


def _reading(read: Callable[[], Iterable[tuple[str, str, float]]]) -> MakeGauges:
    def make() -> Collector:
        from storage.telemetry.counters import ReadGauges

        return ReadGauges(read)

    return make


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


def require_opentelemetry() -> None:
    """Raise ConfigurationError if the libraries for traces are not installed."""
    try:
        is_there = find_spec("opentelemetry.sdk") is not None
    except ImportError:
        is_there = False
    if not is_there:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry, which is not installed; "
            "install requirements-traces.txt or unset it."
        )


def tracer_of(endpoint: str | None, process: str) -> Tracer:
    """Return the tracer that sends to the OTLP receiver at `endpoint`; None: no tracing.

    Call this after a fork, because the tracer has a thread. Raises ConfigurationError if
    OpenTelemetry is not installed.
    """
    if endpoint is None:
        return NO_TRACER
    require_opentelemetry()
    # Loaded here, because a process without traces does not need the libraries.
    from storage.telemetry.otel import OtelTracer

    return OtelTracer(endpoint, process)
