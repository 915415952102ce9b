"""urllib's opener, changed to skip interim responses.

A server may send any number of 1xx responses before the final one (RFC 9110, 15.2), but http.client
skips only 100. `storage/http/responses.py` does the same for persistent connections. This package
must not import that one, and a pull closes each connection after one response.
"""

from __future__ import annotations

import http
import http.client
import time
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request, build_opener

INTERIM_MAX = 1_000
INTERIM_MAX_BYTES = 256 * 1024
INTERIM_MAX_S = 60.0


class _FinalResponse(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        began, left = time.monotonic(), INTERIM_MAX_BYTES
        for _ in range(INTERIM_MAX):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            line = b"-"
            while line not in (b"\r\n", b"\n", b"") and left > 0:
                line = self.fp.readline(left + 1)
                left -= len(line)
            if left <= 0:
                break
            if time.monotonic() - began > INTERIM_MAX_S:
                raise TimeoutError("no final answer in time")
        raise http.client.HTTPException("too many interim answers")


class _HTTPConnection(http.client.HTTPConnection):
    response_class = _FinalResponse


class _HTTPSConnection(http.client.HTTPSConnection):
    response_class = _FinalResponse


class _HTTPHandler(HTTPHandler):
    def http_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(HTTPSHandler):
    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPSConnection, req)


def final_opener() -> OpenerDirector:
    """Return an opener that returns the final response of a request."""
    return build_opener(_HTTPHandler, _HTTPSHandler)
