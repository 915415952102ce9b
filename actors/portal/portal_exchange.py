"""One exchange with the portal: its body piece by piece, its framing, its errors made ours."""

from __future__ import annotations

import contextlib
import http
import http.client
from collections.abc import Iterator

import requests
import urllib3.exceptions

from actors.contents.content_checks import corrupt
from actors.portal.framing import (
    BadCoding,
    announced_bytes,
    content_codings,
    inflated,
    transfer_codings,
    whole_range_bytes,
)
from actors.resilience.exchange_deadline import Deadline
from storage.errors import AutosError, PortalUntrusted, ServiceUnavailable, TransientError
from storage.http.tls import failed_handshake, untrusted_certificate
from storage.refusals import PORTAL, RefusalWatch

_CHUNK_BYTES = 256 * 1024
_REFUSAL_MAX_BYTES = 64 * 1024
_FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)


def chunks(
    response: requests.Response, deadline: Deadline, *, cut_reason: str = "PORTAL_UNAVAILABLE"
) -> Iterator[bytes]:
    """The body as it comes; `cut_reason` if it ends before its end.

    Only reading is translated, not what the caller does in between.
    """
    pieces = response.raw.stream(_CHUNK_BYTES, decode_content=False)
    while True:
        with translated(deadline, cut_reason):
            chunk: bytes | None = next(pieces, None)
            # Also at the end: a body of unknown length that was cut looks complete.
            deadline.check()
        if chunk is None:
            return
        yield chunk


def is_whole(response: requests.Response, listed_size_bytes: int | None) -> bool:
    """Whether an answer has all of what was asked for: 200, or 206 with all that there is."""
    if response.status_code != http.HTTPStatus.PARTIAL_CONTENT:
        return response.status_code == http.HTTPStatus.OK
    return whole_range_bytes(response.headers, listed_size_bytes) is not None


def decoded(response: requests.Response, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The body of a message, decompressed if it came compressed although it was not asked for.

    Raises TransientError PORTAL_UNAVAILABLE if it is not whole, PORTAL_ERROR for a coding without
    a checksum, or an unknown one.
    """
    codings = content_codings(response.headers)
    if transfer_codings(response.headers) not in ([], ["chunked"]):
        codings.append("transfer")
    if not codings:
        yield from pieces
        return
    if len(codings) > 1 or codings[0] not in ("gzip", "x-gzip", "deflate"):
        raise TransientError(
            "PORTAL_ERROR", "The portal's answer is in an unknown coding.", is_few=True
        )
    try:
        yield from inflated(pieces)
    except BadCoding as error:
        raise TransientError(
            "PORTAL_UNAVAILABLE", "The portal's answer ended before it was complete."
        ) from error


def refusal_body(response: requests.Response, deadline: Deadline) -> bytes | None:
    """The beginning of an answer other than 200; None when it cannot be read."""
    body = bytearray()
    try:
        for chunk in decoded(response, chunks(response, deadline)):
            body += chunk
            if len(body) >= _REFUSAL_MAX_BYTES:
                break
    except TransientError:
        deadline.check()
        return None
    return bytes(body)


def framing(response: requests.Response, listed_size_bytes: int | None) -> tuple[int | None, bool]:
    """The announced size in bytes, and whether the body is chunked (then none is announced).

    Raises TransientError CORRUPT for a file that is encoded: it could be cut unnoticed. If its
    length is the listed size, what came is what the court has: a compressed file, say.
    """
    codings = transfer_codings(response.headers)
    length = None if codings else announced_bytes(response.headers)
    is_proven = length is not None and length == listed_size_bytes
    is_coded = bool(content_codings(response.headers)) and not is_proven
    if codings not in ([], ["chunked"]) or is_coded:
        raise corrupt("The portal sent the file in an encoding that was not asked for.")
    if response.status_code == http.HTTPStatus.PARTIAL_CONTENT:
        ranged = whole_range_bytes(response.headers, listed_size_bytes)
        if length not in (None, ranged):
            raise corrupt("The portal sent a part of the file.")
        return ranged, bool(codings)
    return length, bool(codings)


def note_handshake(watch: RefusalWatch, operation: str, error: TransientError) -> None:
    """Have the log say, once, what failed in TLS if that is why there was no answer."""
    code, text = failed_handshake(error)
    if code:
        watch.failed(operation, ServiceUnavailable(PORTAL, code=code, answer=text))


@contextlib.contextmanager
def limit_as_error() -> Iterator[None]:
    """Turns the watchdog's word for a total limit into the portal's."""
    try:
        yield
    except TransientError as error:
        if error.reason != "DEADLINE_EXCEEDED":
            raise
        raise TransientError(
            "PORTAL_UNAVAILABLE",
            "The portal took longer than is allowed for one answer.",
            is_answered=False,
        ) from error


@contextlib.contextmanager
def translated(
    deadline: Deadline, cut_reason: str = "PORTAL_UNAVAILABLE", *, is_answered: bool = True
) -> Iterator[None]:
    """The one place where the errors of requests, urllib3, http.client and ssl become ours.

    `is_answered`: the head of the answer is there, and its body is read.
    """
    try:
        yield
    except _FOREIGN as error:
        deadline.check()
        raise _meaning(error, cut_reason, is_answered=is_answered) from error


def _meaning(error: BaseException, cut_reason: str, *, is_answered: bool) -> AutosError:
    if certificate := untrusted_certificate(error):
        return PortalUntrusted(certificate)
    is_timeout = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    # By urllib3's classes a refused connection is a timeout, too.
    if is_timeout and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return TransientError(
            "PORTAL_UNAVAILABLE", "The portal did not answer in time.", is_answered=False
        )
    is_protocol = isinstance(error, urllib3.exceptions.ProtocolError)
    if is_answered and is_protocol and not isinstance(error.__cause__, OSError):
        # The connection ended in order, but before the body did.
        return TransientError(cut_reason, "The portal's answer ended before it was complete.")
    return TransientError(
        "PORTAL_UNAVAILABLE", "The connection to the portal failed.", is_answered=False
    )
