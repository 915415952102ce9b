"""Translate the errors of S3 and compatible stores into errors of Autos."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from storage.errors import ServiceUnavailable, StoreRefused, TransientError
from storage.http.tls import failed_handshake, untrusted_certificate

Answer = S3Error | ServerError | InvalidResponseError

# The codes for a body that does not match the signature.
ALTERED = {"XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch"}
# The codes that mean "try again", whatever status they come with.
AGAIN = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "OperationAborted"}
AGAIN_STATUSES = {408, 409, 421, 423, 425, 429}
# Statuses from 500 on that no retry changes: not implemented, and no space left.
FINAL_STATUSES = {501, 507}


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
        # InvalidResponseError has no public name for its status.
        status = error.status_code if isinstance(error, ServerError) else int(error._code)
        return cls(status, f"HTTP {status}", "")

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
    except (S3Error, ServerError, InvalidResponseError) as error:
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


def refusal(answer: urllib3.BaseHTTPResponse) -> S3Error | ServerError:
    """Return the error for an answer other than 200."""
    try:
        return S3Error.fromxml(answer)
    except (ParseError, UnicodeDecodeError):
        # A proxy answered, or the body was empty.
        return ServerError("", answer.status)


def altered() -> TransientError:
    """Return the error for a file with other bytes than those that were checked."""
    return TransientError("CORRUPT", "The spool file differs from the downloaded file.")


def _innermost(error: BaseException) -> str:
    """Return the kind of failure. The error's text may name a key, and with it a case."""
    reason = getattr(error, "reason", None)
    named = reason if isinstance(reason, Exception) else error
    return str(named.reason) if isinstance(named, ssl.SSLError) else type(named).__name__
