"""One exchange with the portal: its body piece by piece, its framing, its errors made ours."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import requests
import urllib3.exceptions

from actors.contents import corrupt
from actors.deadline import Deadline
from storage.errors import TransientError

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


def refusal_body(response: requests.Response, deadline: Deadline) -> bytes | None:
    """The beginning of an answer other than 200; None when it cannot be read."""
    if encodings(response):
        return None
    body = bytearray()
    try:
        for chunk in chunks(response, deadline):
            body += chunk
            if len(body) >= _REFUSAL_MAX_BYTES:
                break
    except TransientError:
        deadline.check()
        return None
    return bytes(body)


def framing(response: requests.Response) -> tuple[int | None, bool]:
    """The announced size in bytes, and whether the body is chunked (then none is announced)."""
    if encodings(response):
        raise corrupt("The portal sent the file in an encoding that was not asked for.")
    if "Transfer-Encoding" in response.headers:
        return None, True
    length = response.headers.get("Content-Length", "").strip()
    is_number = length.isascii() and length.isdigit() and len(length) <= 18
    return (int(length) if is_number else None), False


def encodings(response: requests.Response) -> set[str]:
    """The encodings of a body beyond identity and chunked: none can be trusted to be complete."""
    said = f"{response.headers.get('Content-Encoding', '')},"
    coded = {word.strip().lower() for word in said.split(",")} - {"", "identity"}
    transfer = response.headers.get("Transfer-Encoding", "chunked").strip().lower()
    return coded if transfer == "chunked" else coded | {transfer}


@contextlib.contextmanager
def limit_told() -> Iterator[None]:
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


def _meaning(error: BaseException, cut_reason: str, *, is_answered: bool) -> TransientError:
    is_timeout = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    if is_timeout:
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
