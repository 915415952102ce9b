"""Test that JSON and headers which break the rules lose nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contents.json_fields import charset, mime_type
from actors.contents.json_text import read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1], "b": 2, "a": [2]}', {"a": [1, 2], "b": 2}),
        ('{"a": {"x": 1}, "a": {"x": 2}}', {"a": [{"x": 1}, {"x": 2}]}),
        ('{"a": {"x": 1}, "a": {"x": 1}}', {"a": {"x": 1}}),
        ('{"a": [1], "a": []}', {"a": [1]}),
        ('{"a": [1], "a": null}', {"a": [1]}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_a_name_that_an_object_has_twice_keeps_all_lists_and_objects(
    text: str, value: object
) -> None:
    assert read_json(text) == value


def test_line_breaks_and_tabs_may_be_in_a_text() -> None:
    assert read_json('{"nome": "a\n\tb"}') == {"nome": "a\n\tb"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_other_json_is_read_as_usual(value: object) -> None:
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("content_type", "mime", "name"),
    [
        ('Text/HTML ; x=y; Charset = "Windows-1252"', "text/html", "windows-1252"),
        ("text/html charset=windows-1252", "text/html", "windows-1252"),
        ("text/html, text/html", "text/html", None),
        ("text/html;charset=windows-1252,text/html", "text/html", "windows-1252"),
        ("text/html; notcharset=utf-8", "text/html", None),
        ("multipart/mixed; boundary=charset=x", "multipart/mixed", None),
        ("PDF document", None, None),
    ],
)
def test_a_content_type_is_read_although_its_form_is_odd(
    content_type: str, mime: str | None, name: str | None
) -> None:
    assert (mime_type(content_type), charset(content_type)) == (mime, name)
