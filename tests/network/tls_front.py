"""TLS in front of a server without it, with a certificate that a test may change."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.network.certificates import Certificate

BLOCK_BYTES = 65_536
TICK_S = 0.05


class TlsFront:
    """Forwards connections at `port` to a server on 127.0.0.1."""

    def __init__(self, listener: socket.socket, upstream: tuple[str, int], folder: Path) -> None:
        self._listener, self._upstream, self._folder = listener, upstream, folder
        self._context: ssl.SSLContext | None = None
        self.stopping = threading.Event()
        self.handshakes = 0

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def show(self, certificate: Certificate) -> None:
        """Show this certificate from now on."""
        (self._folder / "cert.pem").write_bytes(certificate.pem)
        (self._folder / "key.pem").write_bytes(certificate.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "cert.pem", self._folder / "key.pem")
        self._context = context

    def run(self) -> None:
        """Accept until `stopping` is set."""
        self._listener.settimeout(TICK_S)
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        assert self._context
        self.handshakes += 1
        with contextlib.suppress(OSError), closing(accepted):
            accepted.settimeout(30)
            with (
                self._context.wrap_socket(accepted, server_side=True) as peer,
                socket.create_connection(self._upstream) as upstream,
            ):
                _pass_on(peer, upstream)


def _pass_on(peer: ssl.SSLSocket, upstream: socket.socket) -> None:
    """Forward both ways until one side ends, in one thread: TLS objects are not thread-safe."""
    while True:
        readable = [peer] if peer.pending() else select.select([peer, upstream], [], [])[0]
        for source in readable:
            data = source.recv(BLOCK_BYTES)
            if not data:
                return
            (upstream if source is peer else peer).sendall(data)


@contextmanager
def tls_front(upstream_port: int, folder: Path) -> Iterator[TlsFront]:
    """Run a front for the server on `upstream_port`; `folder` takes its files."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        front = TlsFront(listener, ("127.0.0.1", upstream_port), folder)
        thread = threading.Thread(target=front.run)
        thread.start()
        try:
            yield front
        finally:
            front.stopping.set()
            thread.join()
