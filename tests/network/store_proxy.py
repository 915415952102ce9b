"""A proxy in front of a store: it rejects the requests that a test chooses."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class No(NamedTuple):
    """A rejection: its status, code and message; with a `page`, the bytes of another body."""

    status: int
    code: str = ""
    message: str = "Not here."
    page: bytes | None = None
    content_type: str = "application/xml"
    location: str = ""
    etag: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the answer."""
        others = {"Location": self.location, "ETag": self.etag}
        given = {name: value for name, value in others.items() if value}
        return {"Content-Type": self.content_type, **given}

    @property
    def body(self) -> bytes:
        """Return the body of the answer."""
        text = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        return text.encode() if self.page is None else self.page


# The arguments are a request's method, its path with query, and its headers.
Rule = Callable[[str, str, Mapping[str, str]], No | None]


@dataclass
class StoreProxy:
    """`rule` may be changed at any time; `refused` has the methods of rejected requests."""

    url: str = ""
    rule: Rule = lambda *_: None
    refused: list[str] = field(default_factory=list)


@contextmanager
def store_proxy(store_url: str, rule: Rule = lambda *_: None) -> Iterator[StoreProxy]:
    """Forward to `store_url`, byte for byte, every request that `rule` does not reject."""
    proxy = StoreProxy(rule=rule)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if no := proxy.rule(self.command, self.path, dict(self.headers)):
                proxy.refused.append(self.command)
                self._send(no.status, no.headers, no.body)
            else:
                self._send(*self._forwarded(body))

        def _forwarded(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
            upstream = http.client.HTTPConnection(urlsplit(store_url).netloc, timeout=30)
            try:
                upstream.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                return answer.status, dict(answer.headers), answer.read()
            finally:
                upstream.close()

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            is_head = self.command == "HEAD"
            length = headers.get("Content-Length", "0") if is_head else str(len(body))
            if status != 204:
                self.send_header("Content-Length", length)
            self.end_headers()
            if not is_head:
                self.wfile.write(body)

        do_PUT = do_POST = do_GET = do_HEAD = do_DELETE = _answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
