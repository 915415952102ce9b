"""The metrics page: an HTTP server of one page, on its own port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler

import structlog
from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A client that sends nothing occupies a thread for at most this many seconds.
PATIENCE_S = 10.0


@contextmanager
def served(listener: socket.socket, collector: Collector) -> Iterator[None]:
    """Serve the metrics of `collector`, in threads of its own, until the block ends."""
    server = _Server(listener)
    server.set_app(make_wsgi_app(collector))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("serving metrics", address="{}:{}".format(*listener.getsockname()[:2]))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingWSGIServer):
    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S

    def log_message(self, *_: object) -> None:
        """Log nothing: scrapes are routine."""
