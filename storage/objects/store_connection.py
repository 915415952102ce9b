"""The connections to the bucket: pools, clients, and what the store refuses or lacks."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import ParseError

import structlog
import urllib3
from minio.error import MinioException, S3Error, ServerError

from storage.errors import ServiceUnavailable, StoreRefused, TransientError
from storage.http.connections import inspected_pools
from storage.http.tls import failed_handshake, untrusted_certificate
from storage.logs import ANSWER_CAP
from storage.objects.object_names import MARK
from storage.objects.store_address import ObjectStore
from storage.refusals import STORE, RefusalWatch

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


log: structlog.stdlib.BoundLogger = structlog.get_logger()

CONNECT_S, SILENCE_S = 5.0, 60.0
# Keys are locked meanwhile, and other transactions may wait for them.
DELETE_S = 20.0
# How many bytes of a file are sent at once.
BLOCK_BYTES = 128 * 1024
PARALLEL_HEADS = 16


class StoreConnection:
    """The connections to a bucket, which translate and log its errors.

    Thread-safe. Open it after a fork.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        max_connections: int,
        watch: RefusalWatch | None,
        delete_s: float,
    ) -> None:
        """Open the bucket.

        `watch` logs and publishes refusals; without one they are only logged. `delete_s`: the time
        limit of a deletion in seconds.
        """
        self._store = store
        self._watch = watch or RefusalWatch(STORE)
        self._lacks: set[str] = set()
        self._http = store_pools(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
            maxsize=max(max_connections, PARALLEL_HEADS),
            blocksize=BLOCK_BYTES,
            **store.tls,
            retries=urllib3.Retry(
                total=2,
                backoff_factor=0.1,
                status_forcelist=(500, 502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
                redirect=0,
                # The header may ask for hours, and a lease would be renewed all that time.
                respect_retry_after_header=False,
            ),
        )
        self._minio = store.client(store.endpoint_url, self._http)
        self._deleting = store.client(
            store.endpoint_url,
            store_pools(timeout=urllib3.Timeout(total=delete_s), retries=False, **store.tls),
        )
        self._public = store.client(store.public_url)

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        """Translate the errors of an operation, and log refusals and outages."""
        try:
            with translated(operation):
                yield
        except ServiceUnavailable as error:
            self._watch.failed(operation, error)
            raise
        self._watch.succeeded(operation)

    def _note(self, step: str, error: Answer | StoreRefused) -> None:
        """Log once that the store lacks an operation of other stores; work continues without it."""
        if step not in self._lacks:
            self._lacks.add(step)
            refused = error if isinstance(error, StoreRefused) else StoreRefusal.of(error)
            log.warning("store lacks a step", step=step, code=refused.code, answer=refused.answer)


class StoreCheck:
    """Requests to one bucket, over connections of its own. `limit_s`: seconds for a request."""

    def __init__(self, store: ObjectStore, *, limit_s: float) -> None:
        self._bucket = store.bucket
        self._key = store.prefix + MARK
        self._http = store_pools(timeout=urllib3.Timeout(total=limit_s), retries=False, **store.tls)
        self._minio = store.client(store.endpoint_url, self._http)

    def ask(self) -> None:
        """Read the mark of the bucket; it may be missing.

        Raises StoreRefused with S3's own code, ServiceUnavailable.
        """
        # A GET: the answer to a refused HEAD has no code.
        with translated("GET"):
            try:
                with closing(self._minio.get_object(self._bucket, self._key)) as answer:
                    answer.read()
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()
