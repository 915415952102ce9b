"""The final answer to a request, read by http.client, and whether its form was odd."""

from __future__ import annotations

import email.parser
import http
import http.client
import io
import re
import socket
import time
from types import FunctionType
from typing import Any, BinaryIO, NoReturn, cast

from storage.http.chunked_body import ChunkedBody, bytes_at_hand

# http.client uses the parser for e-mail, which takes more than a tenth of the processor time of a
# small file's request. Here it parses only a head in any other form than one plain line a field.
_PLAIN_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)\r?\n")
_END = (b"\r\n", b"\n")
_LAST = (*_END, b"")
# Browsers accept as much.
HEAD_MAX_BYTES = 256 * 1024

# The most interim answers before the final one: RFC 9110, 15.2, sets no limit.
INTERIM_MAX = 1_000
INTERIM_MAX_BYTES = 256 * 1024
INTERIM_MAX_S = 60.0

_CUT = "The head of the answer is not complete."
_BODYLESS = (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)
_NUMBER = re.compile(r"[0-9]{1,18}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def parse_fields(file: BinaryIO) -> http.client.HTTPMessage:
    """Read and parse header fields to their end, with the result of http.client.parse_headers.

    Raises http.client.HTTPException if they are longer than HEAD_MAX_BYTES in all. http.client
    accepts only 100 fields.
    """
    lines = _lines(file)
    message = _plain(lines) or email.parser.Parser(_class=http.client.HTTPMessage).parsestr(
        b"".join(lines).decode("iso-8859-1")
    )
    # The connection ended within the head: other fields may be missing.
    message.is_cut = lines[-1] not in _END  # type: ignore[attr-defined]
    return message


def _lines(file: BinaryIO) -> list[bytes]:
    lines: list[bytes] = []
    left = HEAD_MAX_BYTES
    while not lines or lines[-1] not in _LAST:
        line = file.readline(left + 1)
        left -= len(line)
        if left < 0:
            raise http.client.LineTooLong("head")
        lines.append(line)
    return lines


def _plain(lines: list[bytes]) -> http.client.HTTPMessage | None:
    """Return the parsed lines; None if a line is not in the plain form."""
    if lines[-1] not in _END:
        return None
    message = http.client.HTTPMessage()
    for line in lines[:-1]:
        match = _PLAIN_FIELD.fullmatch(line)
        if match is None:
            return None
        name, value = match[1].decode("ascii"), match[2].decode("iso-8859-1")
        if name.lower() == "content-type" and _has_parts(value):
            return None
        message.set_raw(name, value)
    message.set_payload("")
    return message


def _has_parts(content_type: str) -> bool:
    """Return whether the parser for e-mail could look for parts in the body."""
    lowered = content_type.lower()
    return "multipart" in lowered or "message" in lowered


# http.client's own function, which finds `parse_fields` under the name of its own parser.
_begin = FunctionType(
    http.client.HTTPResponse.begin.__code__,
    {**vars(http.client), "parse_headers": parse_fields},
)


class NoAnswer(http.client.RemoteDisconnected):
    """The connection ended before the first byte of an answer."""


class InterimFlood(http.client.HTTPException):
    """The server sent more interim answers than any server has a reason to send."""


class UnknownEnd(http.client.HTTPException):
    """The head contains several lengths for one body, or is not complete."""


class _NoBody:
    """Replace the socket's file of http.client if the head does not define the body's end.

    The status of the answer stays valid: a receiver of webhooks has answered.
    """

    def __init__(self, file: io.BufferedReader, why: str) -> None:
        self._file = file
        self._why = why

    def read(self, *_: object) -> NoReturn:
        """Raise UnknownEnd."""
        raise UnknownEnd(self._why)

    read1 = readinto = readline = peek = read

    def flush(self) -> None:
        """Do nothing: this file is only read."""

    def close(self) -> None:
        """Close the file of the socket."""
        self._file.close()


class FinalResponse(http.client.HTTPResponse):
    """The answer after all interim answers (1xx but 101, of which http.client skips only 100).

    `interim_max_s`: seconds that the interim answers may take, besides the timeouts of the reads.
    """

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
        *,
        interim_max_s: float = INTERIM_MAX_S,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._socket = sock
        self._is_head = method == "HEAD"
        self._interim_max_s = interim_max_s
        self._is_plain = False
        self._is_reusable = False
        self._chunks: ChunkedBody | None = None
        self._announced_bytes: int | None = None

    @property
    def body_bytes(self) -> int | None:
        """Return the size of the body, None if only the end of the connection shows it.

        If the body is chunked, the size is final only after its last chunk.
        """
        return self._chunks.size_bytes if self._chunks else self._announced_bytes

    @property
    def is_reusable(self) -> bool:
        """Return whether it was read to its proper end, with nothing odd in it or behind it."""
        return self._is_reusable

    def begin(self) -> None:
        """Read the head.

        Raises NoAnswer, InterimFlood, TimeoutError, UnknownEnd, or http.client's errors.
        """
        _begin(self)
        if self.headers.defects:
            self._read_lost_fields()
        self._agree_on_length()
        self._is_plain = self._has_plain_framing()
        self._announced_bytes = self.length
        if self.chunked and self.length == 0:
            # A body that must not exist: http.client would wait for it.
            self._close_conn()
        elif self.chunked:
            self._chunks = ChunkedBody(self.fp)
            self.fp = cast("io.BufferedReader", self._chunks)
        if getattr(self.headers, "is_cut", False):
            self._refuse_cut_head()

    def _read_status(self) -> tuple[str, int, str]:
        self._await_first_byte()
        began, left = time.monotonic(), INTERIM_MAX_BYTES
        for _ in range(INTERIM_MAX):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            left -= len(version) + len(reason) + self._pass_over_fields(left)
            if left <= 0:
                break
            if time.monotonic() - began > self._interim_max_s:
                raise TimeoutError("no final answer in time")
        raise InterimFlood("too many interim answers")

    def _await_first_byte(self) -> None:
        """Wait for the answer. Raises NoAnswer if the connection ends before its first byte."""
        try:
            first = self.fp.peek(1)
        except ConnectionError as error:
            raise NoAnswer("The connection broke before an answer.") from error
        if not first:
            raise NoAnswer("The connection ended before an answer.")

    def _pass_over_fields(self, left: int) -> int:
        """Read the fields of an interim answer. Return their bytes, at most `left` + 1."""
        taken = 0
        while taken <= left:
            line = self.fp.readline(left - taken + 1)
            taken += len(line)
            if line in (b"\r\n", b"\n", b""):
                break
        return taken

    def _read_lost_fields(self) -> None:
        """Read the fields behind an invalid line, at which http.client stops.

        Without them the end of the body would be unknown.
        """
        lost = self.headers.get_payload()
        for line in lost.split("\n") if isinstance(lost, str) else ():
            name, colon, value = line.partition(":")
            if colon and _NAME.fullmatch(name.strip()):
                self.headers[name.strip()] = value.strip()
        if self.length != 0 and self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            self.chunked, self.chunk_left, self.length = True, None, None

    def _agree_on_length(self) -> None:
        """Set the body's length if every length in the head is the same number.

        http.client takes the first of several fields, and none if one field has it twice; then it
        would wait for the end of the connection. If they differ, the body cannot be read.
        """
        if self.chunked or self.length == 0:
            return
        fields = self.headers.get_all("Content-Length", [])
        given = {length.strip() for field in fields for length in field.split(",")} - {""}
        lengths = {length.lstrip("0") or "0" for length in given}
        if len(lengths) > 1:
            # With these fields, urllib3 would refuse the whole answer.
            del self.headers["Content-Length"]
            self._refuse_body("The lengths of the body differ.")
            return
        codings = ",".join(self.headers.get_all("Transfer-Encoding", ["identity"]))
        is_plain = {coding.strip().lower() for coding in codings.split(",")} <= {"identity", ""}
        if self.length is None and is_plain and all(map(_NUMBER.fullmatch, lengths)):
            self.length = int(lengths.pop()) if lengths else None

    def _refuse_cut_head(self) -> None:
        self._is_plain = False
        if self._is_head:
            # The fields are all of the answer.
            raise UnknownEnd(_CUT)
        if self.fp:
            self._refuse_body(_CUT)

    def _refuse_body(self, why: str) -> None:
        self.fp = cast("io.BufferedReader", _NoBody(self.fp, why))

    def _has_plain_framing(self) -> bool:
        """Return whether the head defines the body's end in exactly one way."""
        fields = self.headers
        lengths = fields.get_all("Content-Length", [])
        encodings = fields.get_all("Transfer-Encoding", [])
        if self.status < 200 or fields.defects:
            return False
        if self.status in _BODYLESS or self._is_head:
            return not encodings and len(lengths) <= 1
        if encodings:
            return not lengths and [text.strip().lower() for text in encodings] == ["chunked"]
        return len(lengths) == 1 and bool(_NUMBER.fullmatch(lengths[0].strip()))

    def _close_conn(self) -> None:
        # http.client and urllib3 both call this at the end of the body, however they read it.
        self._is_reusable = (
            self._is_plain
            and not self.will_close
            and self._is_ended()
            and not bytes_at_hand(self.fp, self._socket)
        )
        super()._close_conn()  # type: ignore[misc]

    def _is_ended(self) -> bool:
        body: Any = self.fp
        if isinstance(body, ChunkedBody):
            return body.is_ended and not body.is_odd
        return self.length == 0
