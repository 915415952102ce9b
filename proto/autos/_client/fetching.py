"""Transfer of one document by presigned URLs into a file, with retries and a check of its SHA-256.

A presigned URL is a secret: no error raised here contains one, and none has a foreign error with a
URL as its cause.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

from autos._client.patience import Patience
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import Unavailable

CHUNK_BYTES = 256 * 1024
SOCKET_TIMEOUT_S = 30.0
# Seconds without any progress after which a transfer fails.
PATIENCE_S = 60.0
REFUSALS_MAX = 3
REFUSED, GONE, NOT_CONTINUED = (400, 401, 403), (404, 410), (412, 416)
PARTIAL = 206
_RANGE_BEGIN = re.compile(r"\s*bytes[\s=]+([0-9]{1,18})-", re.I)
# The most interim answers before the final one: RFC 9110, 15.2, sets no limit.
INTERIM_MAX = 1_000
INTERIM_MAX_BYTES = 256 * 1024
INTERIM_MAX_S = 60.0


class NotFetched(Exception):
    """A document could not be fetched. The message is the cause, without the document's name."""


class _Altered(NotFetched):
    """The bytes are not those of the document, or the bucket does not continue them."""


class Stopped(Exception):
    """The transfer was stopped on request."""


class _Broken(Exception):
    """The connection broke or the bucket is busy: the transfer may resume later."""


class _Refused(Exception):
    """The bucket refuses the URL, which may have expired."""


class Transfer:
    """The transfer of a document into `file`."""

    def __init__(
        self,
        document: pb.Document,
        file: BinaryIO,
        *,
        stop: threading.Event,
        on_bytes: Callable[[int], object],
    ) -> None:
        self._document = document
        self._file = file
        self._stop = stop
        self._on_bytes = on_bytes
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        self._is_joined = False
        # It uses the proxies of the environment and logs nothing.
        self._opener = final_opener()

    def run(self, mint: Callable[[], str]) -> None:
        """Fetch the whole document. `mint` returns a fresh URL.

        Raises NotFetched, Stopped, or OSError if the file cannot be written.
        """
        try:
            self._fetch(mint)
        except _Altered:
            if not self._is_joined:
                raise
            # The bytes of several answers may not belong together: a proxy may have sent the first.
            self._begin_anew()
            self._fetch(mint)

    def _fetch(self, mint: Callable[[], str]) -> None:
        patience, refusals, url = Patience(PATIENCE_S), 0, mint()
        while True:
            before = self._size_bytes
            try:
                self._go_on(url)
                break
            except _Refused as refused:
                refusals += 1
                if refusals >= REFUSALS_MAX:
                    raise NotFetched(f"the bucket refuses it ({refused})") from None
                url = mint()
            except _Broken as broken:
                if self._size_bytes == self._document.size_bytes:
                    break  # All bytes are there; no range after the last byte can be requested.
                if self._size_bytes > before:
                    patience.progressed()
                self._wait(patience, broken)
        if self._hash.hexdigest() != self._document.sha256:
            raise _Altered(
                f"its bytes are not those that were stored: SHA-256 {self._hash.hexdigest()} "
                f"instead of {self._document.sha256}"
            )

    def _wait(self, patience: Patience, broken: _Broken) -> None:
        try:
            pause_s = patience.pause_s(Unavailable(str(broken)))
        except Unavailable:
            raise NotFetched(f"the bucket does not deliver it ({broken})") from None
        if self._stop.wait(pause_s):
            raise Stopped

    def _go_on(self, url: str) -> None:
        with self._answer(url) as answer:
            begin = self._begin_of(answer)
            if begin not in (0, self._size_bytes):
                raise _Broken("the answer has another range than the one requested")
            if begin == 0:
                self._begin_anew()
            # Nothing but the end of the connection ends such a body, and a server may keep it open.
            is_open = answer.length is None and not answer.chunked
            for chunk in self._chunks(answer):
                self._take(chunk)
                if is_open and self._size_bytes == self._document.size_bytes:
                    break
        if self._size_bytes < self._document.size_bytes:
            raise _Broken("the answer was cut off")

    def _begin_of(self, answer: http.client.HTTPResponse) -> int:
        """Return the offset in the document at which the bytes of an answer begin."""
        if answer.status != PARTIAL:
            return 0
        found = _RANGE_BEGIN.match(answer.headers.get("Content-Range", ""))
        return int(found[1]) if found else self._size_bytes

    def _take(self, chunk: bytes) -> None:
        if self._stop.is_set():
            raise Stopped
        self._size_bytes += len(chunk)
        if self._size_bytes > self._document.size_bytes:
            raise _Altered(f"it is larger than what was stored, {self._document.size_bytes} bytes")
        self._hash.update(chunk)
        self._file.write(chunk)
        self._on_bytes(len(chunk))

    def _begin_anew(self) -> None:
        if self._size_bytes:
            self._on_bytes(-self._size_bytes)
        self._file.seek(0)
        self._file.truncate()
        self._size_bytes, self._hash = 0, hashlib.sha256()
        self._is_joined = False

    @contextmanager
    def _answer(self, url: str) -> Iterator[http.client.HTTPResponse]:
        if not url.startswith(("https://", "http://")):
            raise NotFetched("its URL is neither https nor http")
        headers = {"Range": f"bytes={self._size_bytes}-"} if self._size_bytes else {}
        self._is_joined = bool(headers)
        with _foreign_errors():
            answer = self._opener.open(
                Request(url, headers=headers),  # noqa: S310 - checked above
                timeout=SOCKET_TIMEOUT_S,
            )
        with answer:
            yield answer

    def _chunks(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            with _foreign_errors():
                chunk = answer.read1(
                    CHUNK_BYTES
                )  # read1 returns available bytes, so a stop does not wait for a whole chunk
            if not chunk:
                return
            yield chunk


@contextmanager
def _foreign_errors() -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code in REFUSED:
            raise _Refused(f"HTTP {error.code}") from None
        if error.code in GONE:
            raise NotFetched(f"it is no longer in the bucket (HTTP {error.code})") from None
        if error.code in NOT_CONTINUED:
            raise _Altered(f"the bucket does not continue it (HTTP {error.code})") from None
        raise _Broken(f"HTTP {error.code}") from None
    except URLError as error:
        raise _Broken(_name_of(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_name_of(error)) from None


def _name_of(error: object) -> str:
    """Return the name of an error, without its text, which may contain the URL."""
    text = error.strerror if isinstance(error, OSError) else None
    return text or type(error).__name__


class _FinalResponse(http.client.HTTPResponse):
    """An answer without the interim ones before it. http.client itself skips only status 100.

    `storage/http/responses.py` does the same for persistent connections. This package must not
    import it, and a pull closes each connection after one answer.
    """

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


class _Redirects(HTTPRedirectHandler):
    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        """Follow a redirect to https, and from http to http: a URL over TLS stays secret."""
        if not _is_safe(req, headers.get("Location") or headers.get("URI") or ""):
            fp.close()
            raise NotFetched("the bucket redirects to an address that is not safe")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _is_safe(req: Request, target: str) -> bool:
    try:
        scheme = urlsplit(urljoin(req.full_url, target)).scheme
    except ValueError:
        return False
    return scheme == "https" or (scheme == "http" and req.type == "http")


def final_opener() -> OpenerDirector:
    """Return an opener that returns the final response of a request."""
    return build_opener(_HTTPHandler, _HTTPSHandler, _Redirects)
