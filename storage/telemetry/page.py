"""The metrics page: an HTTP server of one page, on its own port.

It has no authentication, so it is kept small: few threads, and a time for each request as a whole.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from socketserver import TCPServer
from typing import Any

import structlog
from prometheus_client import MetricsHandler
from prometheus_client.registry import Collector

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A request has this many seconds, from its connection to the end of its answer.
REQUEST_S = 10.0
# Requests that are served at once, and connections that may wait for their end.
THREADS, MOST_WAITING = 4, 32


@contextmanager
def served(
    listener: socket.socket, collector: Collector, *, request_s: float = REQUEST_S
) -> Iterator[None]:
    """Serve the metrics of `collector`, in threads of its own, until the block ends."""
    server = _Server(listener, _Handler.factory(collector), request_s)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("serving metrics", address="{}:{}".format(*listener.getsockname()[:2]))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(TCPServer):
    def __init__(self, listener: socket.socket, handler: Any, request_s: float) -> None:
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._request_s = request_s
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="metrics-page")
        self._lock = threading.Lock()
        # When each request began, the oldest first. Those that were ended early are not in it.
        self._begun: dict[Any, float] = {}
        self._unfinished = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request in the pool. If there is no room, the oldest request gives its own."""
        with self._lock:
            is_full = self._unfinished >= THREADS + MOST_WAITING
            if len(self._begun) >= THREADS:
                # A scrape takes milliseconds: what is oldest waits for its own caller.
                self._end(next(iter(self._begun)))
            if not is_full:
                self._begun[request] = time.monotonic()
                self._unfinished += 1
        if is_full:
            self.shutdown_request(request)
        else:
            self._pool.submit(self._answer, request, client_address)

    def service_actions(self) -> None:
        """End the requests whose time has passed. `serve_forever` calls it twice a second."""
        with self._lock:
            late = time.monotonic() - self._request_s
            for request in [each for each, begun in self._begun.items() if begun < late]:
                self._end(request)

    def handle_error(self, *_: object) -> None:
        """Log an error of the page; the base class would print it with its traceback."""
        log.exception("metrics page failed")

    def server_close(self) -> None:
        """End all requests, and close the listener."""
        super().server_close()
        with self._lock:
            for request in list(self._begun):
                self._end(request)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _end(self, request: Any) -> None:
        del self._begun[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            # The caller has gone, or its time has passed.
            pass
        except Exception:  # noqa: BLE001 - the edge: it is logged
            self.handle_error()
        finally:
            with self._lock:
                self._begun.pop(request, None)
                self._unfinished -= 1
            self.shutdown_request(request)


class _Handler(MetricsHandler):
    # No version of Python or of a library in the answers.
    server_version, sys_version = "autos", ""
