"""Test the metrics page against callers that send nothing, read nothing or break off."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.request import urlopen

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from structlog.testing import capture_logs

from storage.telemetry.page import THREADS, served


class Gauge(Collector):
    """A page with one gauge. `error`: raised by each scrape."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        if self.error:
            raise self.error
        yield GaugeMetricFamily("autos_test", "text", value=1)

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, so that the registry does not collect."""
        return []


@contextmanager
def page(gauge: Gauge, *, request_s: float = 3_600) -> Iterator[int]:
    """Serve a page; yield its port."""
    registry = CollectorRegistry()
    registry.register(gauge)
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    with served(listener, registry, request_s=request_s):
        yield port


def scrape(port: int) -> str:
    """Return the page."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def is_ended(connection: socket.socket) -> bool:
    """Wait until the server has ended the connection."""
    connection.settimeout(30)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_request_has_a_time_as_a_whole() -> None:
    with page(Gauge(), request_s=0) as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert is_ended(slow)


def test_callers_that_send_nothing_keep_no_thread_from_a_scrape() -> None:
    with page(Gauge()) as port, ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(5 * THREADS)
        ]
        assert "autos_test 1.0" in scrape(port)
        assert is_ended(silent[0])


@pytest.mark.parametrize("request_line", [b"GET /metrics HTTP/1.1\r\nA", b"\x00\xff\r\n\r\n"])
def test_a_caller_that_breaks_off_leaves_no_traceback(
    request_line: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with page(Gauge()) as port:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(request_line)
                # Closed with a reset.
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        assert "autos_test 1.0" in scrape(port)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_error_of_the_page_is_logged_and_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with capture_logs() as lines, page(Gauge(ValueError("secret"))) as port:
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert is_ended(caller)
        deadline = time.monotonic() + 60
        while not any(line["event"] == "metrics page failed" for line in lines):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "Traceback" not in "".join(capfd.readouterr())
