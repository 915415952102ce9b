"""Test that header fields are parsed exactly like http.client does, whatever a server sends."""

from __future__ import annotations

import http.client
import io
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.http import responses
from storage.http.responses import HEAD_MAX_BYTES, parse_fields

NAMES = st.sampled_from(
    ["Content-Type", "content-length", "Transfer-Encoding", "X-A", "From", "From ", "é", "", " X"]
)
VALUES = st.sampled_from(
    [
        *(
            "",
            "5",
            "  5 ",
            "\t5\t",
            "chunked",
            "a:b",
            "é\xff",
            "a\rb",
            "a\x00b",
            "a\x0bb",
            "a\x85b",
        ),
        *("text/plain", "Multipart/Mixed", "multipart/mixed; boundary=x", "message/rfc822"),
    ]
)
ENDS = st.sampled_from(["\r\n", "\n", "\r", "\r\n ", "\r\n\t", ""])
FIELDS = st.builds(lambda name, value, end: f"{name}:{value}{end}", NAMES, VALUES, ENDS)
HEADS = st.builds(
    lambda fields, rest: ("".join(fields) + rest).encode("iso-8859-1"),
    st.lists(FIELDS, max_size=6),
    st.sampled_from(["\r\n", "\n", "", "no field\r\n\r\n", "\r\nbody"]),
)


def _parsed(parse: object, head: bytes) -> object:
    file = io.BytesIO(head)
    message = parse(file)  # type: ignore[operator]
    defects = [type(defect) for defect in message.defects]
    return message.items(), defects, message.get_payload(), message.is_multipart(), file.read()


@given(HEADS | st.binary(max_size=80))
@example(b"Content-Type: application/pdf\r\nContent-Length: 5\r\n\r\n")
@example(b"Content-Type: multipart/mixed\r\n\r\n")
@example(b"A: 1\r\n folded\r\nB: 2\r\n\r\n")
def test_fields_are_parsed_like_http_client_does(head: bytes) -> None:
    assert pickle.dumps(_parsed(parse_fields, head)) == pickle.dumps(
        _parsed(http.client.parse_headers, head)
    )


def test_a_head_is_limited_by_its_bytes_and_not_by_the_number_of_its_fields() -> None:
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(500))
    long = b"X: " + b"y" * (HEAD_MAX_BYTES - len(fields) - 7) + b"\r\n"
    assert len(parse_fields(io.BytesIO(fields + long + b"\r\n"))) == 501
    for more in (b"X: " + long, b"X: y\r\n" * HEAD_MAX_BYTES):
        with pytest.raises(http.client.HTTPException):
            parse_fields(io.BytesIO(fields + more + b"\r\n"))


def test_answers_are_parsed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert responses._begin.__globals__["parse_headers"] is parse_fields
    monkeypatch.setattr("email.parser.Parser.parsestr", None)
    assert parse_fields(io.BytesIO(b"Content-Length: 5\r\n\r\n"))["Content-Length"] == "5"
