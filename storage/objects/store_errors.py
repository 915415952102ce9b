"""Translate the errors of S3 and compatible stores into errors of Autos."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import MinioException, S3Error, ServerError

from storage.errors import ServiceUnavailable, StoreRefused, TransientError
from storage.http.connections import inspected_pools
from storage.http.tls import failed_handshake, untrusted_certificate
from storage.logs import ANSWER_CAP

Answer = S3Error | ServerError

# The codes for a body that does not match the signature.
ALTERED = {"XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch"}
# The codes that mean "try again", whatever status they come with.
AGAIN = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "OperationAborted"}
AGAIN_STATUSES = {408, 409, 421, 423, 425, 429}
# Statuses from 500 on that no retry changes: not implemented, and no space left.
FINAL_STATUSES = {501, 507}
# An answer that is no answer of S3, such as the page of a proxy.
NOT_OF_S3 = "NOT_AN_ANSWER_OF_S3"
SUCCESSES = {200, 204, 206}
READ_BY_MINIO = {"LIST", "DELETE"}
# The statuses of an answer to HEAD for which minio has a code.
NAMED_BY_MINIO = {301, 307, 400, 403, 404, 405, 501}
# Bodies of these types have a text for people. A page has too much of it.
TEXTS = ("text/plain", "application/json")


@dataclass(frozen=True, slots=True)
class StoreRefusal:
    """An answer other than the expected one."""

    status: int
    code: str
    answer: str

    @classmethod
    def of(cls, error: Answer) -> StoreRefusal:
        """Read the refusal from an error of minio."""
        if isinstance(error, S3Error):
            status = error.response.status if error.response else 500
            return cls(status, error.code or f"HTTP {status}", error.message or "")
        return cls(error.status_code, f"HTTP {error.status_code}", str(error))

    @property
    def is_final(self) -> bool:
        """Return whether the refusal is final, and not a request to wait."""
        if self.code in AGAIN or self.status in AGAIN_STATUSES:
            return False
        return self.status < 500 or self.status in FINAL_STATUSES


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Translate the errors of minio and urllib3, and keep the cause."""
    try:
        yield
    except (S3Error, ServerError) as error:
        found = StoreRefusal.of(error)
        if found.code in ALTERED:
            raise altered() from error
        if found.is_final:
            raise StoreRefused(operation, found.code, found.answer) from error
        raise ServiceUnavailable("S3", code=found.code, answer=found.answer) from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        if certificate := untrusted_certificate(error):
            raise StoreRefused(operation, "CERTIFICATE_NOT_TRUSTED", certificate) from error
        code, text = failed_handshake(error)
        if code:
            # For example, an https:// endpoint at a port without TLS.
            raise StoreRefused(operation, code, text) from error
        raise ServiceUnavailable("S3", code=_innermost(error)) from error
    except (ParseError, ValueError) as error:
        # minio could not read an answer with a status of success. Other calls read none.
        if operation not in READ_BY_MINIO:
            raise
        raise StoreRefused(operation, NOT_OF_S3, _line(str(error))) from error


class StorePools(urllib3.PoolManager):
    """Connections for minio that follow no redirect, and read any answer other than a success.

    minio reads code and message only from well-formed XML with one content type. On other bodies it
    raises errors of other libraries.
    """

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send a request. Raises the error for an answer other than a success."""
        answer = super().urlopen(method, url, **options | {"redirect": False})
        if answer.status in SUCCESSES or (method == "HEAD" and answer.status in NAMED_BY_MINIO):
            return answer
        answer.read(cache_content=True)
        answer.release_conn()
        raise refusal(answer)


def store_pools(**options: Any) -> StorePools:
    """Return the connections to a store. `options`: those of urllib3's PoolManager."""
    return inspected_pools(StorePools, **options)


def refusal(answer: urllib3.BaseHTTPResponse) -> Answer:
    """Return the error for an answer other than a success."""
    text = answer.data.decode(errors="replace")
    try:
        element = ElementTree.fromstring(text.strip())  # noqa: S314 - as minio reads answers
    except ParseError:
        # A proxy answered, or the body was empty.
        return ServerError(_text_for_people(answer, text), answer.status)
    found = {each.tag.rpartition("}")[2]: each.text or "" for each in element}
    code, message = found.get("Code", ""), found.get("Message", "")
    return S3Error(answer, code, _line(message), resource=None, request_id=None, host_id=None)


def _text_for_people(answer: urllib3.BaseHTTPResponse, text: str) -> str:
    """Return where an answer redirects to, or its short text; empty if it has neither."""
    parts = urlsplit(answer.headers.get("Location", ""))
    if parts.netloc:
        # Without the path: it may contain the number of a case.
        return f"a redirect to {parts.scheme}://{parts.netloc}"
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return _line(text) if kind in TEXTS else ""


def _line(text: str) -> str:
    return " ".join(text.split())[:ANSWER_CAP]


def altered() -> TransientError:
    """Return the error for a file with other bytes than those that were checked."""
    return TransientError("CORRUPT", "The spool file differs from the downloaded file.")


def _innermost(error: BaseException) -> str:
    """Return the kind of failure. The error's text may name a key, and with it a case."""
    reason = getattr(error, "reason", None)
    named = reason if isinstance(reason, Exception) else error
    return str(named.reason) if isinstance(named, ssl.SSLError) else type(named).__name__
