"""What S3 and its look-alikes answer instead of what was asked for, as errors of ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from storage.errors import ServiceUnavailable, StoreRefused, TransientError
from storage.http.tls import untrusted_certificate

Answer = S3Error | ServerError | InvalidResponseError

# What they answer when the body is not what the signature says.
ALTERED = {"XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch"}
# What means "again", whatever status it comes with.
AGAIN = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "OperationAborted"}
AGAIN_STATUSES = {408, 409, 421, 423, 425, 429}
# Of those from 500 on, what no repetition changes: not implemented, and no space left.
FINAL_STATUSES = {501, 507}


@dataclass(frozen=True, slots=True)
class StoreRefusal:
    """An answer other than the one that was asked for."""

    status: int
    code: str
    answer: str

    @classmethod
    def of(cls, error: Answer) -> StoreRefusal:
        """Read it from an error of minio."""
        if isinstance(error, S3Error):
            status = error.response.status if error.response else 500
            return cls(status, error.code or f"HTTP {status}", error.message or "")
        # It has no public name for the status.
        status = error.status_code if isinstance(error, ServerError) else int(error._code)
        return cls(status, f"HTTP {status}", "")

    @property
    def is_final(self) -> bool:
        """Whether it is a no that stays one, and not a request to wait."""
        if self.code in AGAIN or self.status in AGAIN_STATUSES:
            return False
        return self.status < 500 or self.status in FINAL_STATUSES


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Translate the errors of minio and urllib3, cause kept."""
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
        raise ServiceUnavailable("S3", code=_innermost(error)) from error


def refusal(answer: urllib3.BaseHTTPResponse) -> S3Error | ServerError:
    """Return the error that an answer other than 200 stands for."""
    try:
        return S3Error.fromxml(answer)
    except (ParseError, UnicodeDecodeError):
        # A proxy answered, or the body was empty.
        return ServerError("", answer.status)


def altered() -> TransientError:
    """Return the error for a file that has other bytes than were checked."""
    return TransientError("CORRUPT", "The spool file is not what was downloaded.")


def _innermost(error: BaseException) -> str:
    """Return the kind of failure. Its text may name a key, and with it a case."""
    reason = getattr(error, "reason", None)
    named = reason if isinstance(reason, Exception) else error
    return str(named.reason) if isinstance(named, ssl.SSLError) else type(named).__name__
