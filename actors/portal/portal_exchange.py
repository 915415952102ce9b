"""One exchange with the portal: its body piece by piece, its framing, its translated errors."""

from __future__ import annotations

import contextlib
import http
import http.client
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import requests
import urllib3.exceptions

from actors.contents.content_checks import corrupt
from actors.portal.framing import (
    CHECKED_CODINGS,
    BadCoding,
    announced_bytes,
    content_codings,
    inflated,
    is_part,
    transfer_codings,
    whole_range_bytes,
)
from actors.portal.stated_digests import StatedDigests
from actors.resilience.exchange_deadline import Deadline
from storage.errors import AutosError, PortalUntrusted, ServiceUnavailable, TransientError
from storage.http.tls import failed_handshake, untrusted_certificate
from storage.refusals import PORTAL, RefusalWatch

_CHUNK_BYTES = 256 * 1024
_REFUSAL_MAX_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b\x08"
_FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)


def chunks(
    response: requests.Response, deadline: Deadline, *, cut_reason: str = "PORTAL_UNAVAILABLE"
) -> Iterator[bytes]:
    """Yield the body as it arrives. Raise `cut_reason` if it ends too early, or is another body
    than its own digest states.

    Only errors of reading are translated, not those of the caller between two pieces.
    """
    # A coding has its own checksum, and a server that added it may have left the digest as it was.
    # So may one that replaced an answer by a refusal.
    is_own = not content_codings(response.headers) and response.status_code < 300
    digests = StatedDigests(response.headers if is_own else {})
    pieces = response.raw.stream(_CHUNK_BYTES, decode_content=False)
    while True:
        with translated(deadline, cut_reason):
            chunk: bytes | None = next(pieces, None)
            # Also at the end: a cut body of unknown length looks complete.
            deadline.check()
        if chunk is None:
            break
        digests.feed(chunk)
        yield chunk
    if not digests.agree():
        raise TransientError(cut_reason, "The portal's answer has another digest than it states.")


def is_whole(response: requests.Response, listed_size_bytes: int | None) -> bool:
    """Return whether an answer is complete: 200, or another 2xx with exactly the whole file."""
    if response.status_code == http.HTTPStatus.OK:
        return True
    is_good = 200 < response.status_code < 300
    return is_good and whole_range_bytes(response.headers, listed_size_bytes) is not None


def decoded(
    response: requests.Response,
    pieces: Iterator[bytes],
    *,
    cut_reason: str = "PORTAL_UNAVAILABLE",
) -> Iterator[bytes]:
    """Yield the body of a message. Decompress it if it is compressed although no request allows
    that.

    Raises TransientError `cut_reason` if it is not complete, PORTAL_ERROR for a coding without a
    checksum, or an unknown one.
    """
    codings = content_codings(response.headers)
    if transfer_codings(response.headers) not in ([], ["chunked"]):
        codings.append("transfer")
    if not codings:
        first = next(pieces, b"")
        pieces = itertools.chain([first], pieces)
        if not first.startswith(_GZIP):
            yield from pieces
            return
        # No message begins like this, so the header is missing.
        codings.append("gzip")
    if len(codings) > 1 or codings[0] not in CHECKED_CODINGS:
        raise TransientError(
            "PORTAL_ERROR", "The portal's answer is in an unknown coding.", is_few=True
        )
    try:
        yield from inflated(pieces)
    except BadCoding as error:
        raise TransientError(
            cut_reason, "The portal's answer ended before it was complete."
        ) from error


def refusal_body(response: requests.Response, deadline: Deadline) -> bytes | None:
    """Return the beginning of an answer other than 200; None if it cannot be read."""
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


@dataclass(frozen=True, slots=True)
class Framing:
    """How the body of a file is framed.

    `length`: the announced size of the file in bytes, None if it is unknown. `is_framed`: the end
    of the file is marked. `is_coded`: the body must be decompressed.
    """

    length: int | None
    is_framed: bool
    is_coded: bool = False


def framing(response: requests.Response, listed_size_bytes: int | None) -> Framing:
    """Return how the body of a file is framed.

    A Content-Length beside chunks must be the size of a file whose size is not listed. If the
    length is the listed size, the body is the court's own file, for example a compressed file.
    Raises TransientError CORRUPT for a file in a coding without a checksum, because it could be cut
    unnoticed, and for a part of the file.
    """
    codings = transfer_codings(response.headers)
    announced = announced_bytes(response.headers)
    length = None if codings else announced
    is_proven = length is not None and length == listed_size_bytes
    added = [] if is_proven else content_codings(response.headers)
    is_undone = added in ([], *([each] for each in CHECKED_CODINGS))
    if codings not in ([], ["chunked"]) or not is_undone:
        raise corrupt("The portal sent the file in an encoding that was not requested.")
    if response.status_code == http.HTTPStatus.PARTIAL_CONTENT:
        ranged = whole_range_bytes(response.headers, listed_size_bytes)
        if length not in (None, ranged):
            raise corrupt("The portal sent a part of the file.")
        return Framing(None if added else ranged, True, bool(added))
    if is_part(response.headers, length) and not is_proven:
        raise corrupt("The portal sent a part of the file.")
    if added:
        return Framing(None, True, True)
    length = announced if listed_size_bytes is None else length
    return Framing(length, bool(codings) or length is not None)


def note_handshake(watch: RefusalWatch, operation: str, error: TransientError) -> None:
    """Log once the TLS failure that caused the missing answer, if there was one."""
    code, text = failed_handshake(error)
    if code:
        watch.failed(operation, ServiceUnavailable(PORTAL, code=code, answer=text))


@contextlib.contextmanager
def limit_as_error() -> Iterator[None]:
    """Translate the watchdog's error for a total limit into the portal's error."""
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
    """Translate the errors of requests, urllib3, http.client and ssl, in this one place.

    `is_answered`: the head of the answer has arrived, and its body is being read.
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
    # In urllib3's classes, a refused connection is also a timeout.
    if is_timeout and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return TransientError(
            "PORTAL_UNAVAILABLE", "The portal did not answer in time.", is_answered=False
        )
    is_protocol = isinstance(error, urllib3.exceptions.ProtocolError)
    if is_answered and is_protocol and not isinstance(error.__cause__, OSError):
        # The connection ended in order, but before the body was complete.
        return TransientError(cut_reason, "The portal's answer ended before it was complete.")
    return TransientError(
        "PORTAL_UNAVAILABLE", "The connection to the portal failed.", is_answered=False
    )
