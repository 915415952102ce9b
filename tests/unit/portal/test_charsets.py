"""Test that an answer is decoded in its own charset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contents.charsets import text_of

TEXT = '{"nome": "Petição “São João” €"}'
JSON = "application/json"


@pytest.mark.parametrize(
    ("codec", "content_type"),
    [
        ("utf-8", ""),
        ("utf-8", JSON),
        ("utf-8", "application/json;charset=utf-8"),
        ("utf-8", "application/json; charset=UTF8"),
        ("utf-8", "application/json;charset=us-ascii"),
        ("utf-8", "application/json;charset=nonsense"),
        ("utf-8", "application/json;charset=hex"),
        ("utf-8", "application/json;charset=utf-7"),
        ("utf-8-sig", JSON),
        ("utf-8-sig", "application/json;charset=windows-1252"),
        ("windows-1252", JSON),
        ("windows-1252", "application/json;charset=windows-1252"),
        ("windows-1252", 'application/json; charset="Windows-1252"'),
        ("windows-1252", "application/json;charset=ISO-8859-1"),
        ("windows-1252", "application/json;charset=utf-8"),
        ("windows-1252", "application/json;charset=us-ascii"),
        ("windows-1252", "text/html"),
        ("utf-16", JSON),
        ("utf-16-le", "application/json;charset=utf-16le"),
        ("utf-32", JSON),
        ("utf-16-le", JSON),
        ("utf-16-be", JSON),
        ("utf-16-be", "application/json;charset=utf-16"),
        ("utf-16-be", "application/json;charset=utf-8"),
        ("utf-32-be", "application/json;charset=utf-32"),
    ],
)
def test_a_text_is_read_as_it_was_written(codec: str, content_type: str) -> None:
    assert text_of(TEXT.encode(codec), content_type).removeprefix("\ufeff") == TEXT


def test_the_headers_charset_counts_before_any_guess() -> None:
    assert text_of("Petição".encode("iso8859-15"), "text/plain;charset=iso-8859-15") == "Petição"
    assert text_of("Łódź".encode("cp1250"), "text/plain;charset=windows-1250") == "Łódź"


@given(
    st.binary(),
    st.sampled_from(["", "a/b;charset=utf-16", "a/b;charset=cp1252", "a/b;charset=idna"]),
)
def test_whatever_comes_is_a_text_in_which_no_two_are_one(body: bytes, content_type: str) -> None:
    text = text_of(body, content_type)
    if not content_type:
        assert "\ufffd" not in text or "\ufffd".encode() in body
        text.encode("utf-8", "surrogatepass")
