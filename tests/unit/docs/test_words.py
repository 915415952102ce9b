"""The check of words counts prose, not code, and each room by itself."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from dev.checks.words import (
    RULES,
    Line,
    broken_rules,
    comment_prose,
    long_lines,
    markdown_prose,
    python_prose,
)

PAGE = """\
Nobody reads `told`, [a link](told.md) or https://told.example/said.
```
everybody in code
```
"""
SOURCE = '''\
"""Whoever calls."""
NAME = "somebody"  # nobody `told`
'''


def _text(lines: Iterable[Line]) -> str:
    return " ".join(line.text for line in lines)


def test_code_and_links_of_a_page_are_no_prose() -> None:
    text = _text(markdown_prose("page.md", PAGE))

    assert "Nobody" in text
    assert "a link" in text
    assert "told" not in text
    assert "everybody" not in text


def test_docstrings_and_comments_are_the_prose_of_a_source() -> None:
    text = _text(python_prose("source.py", SOURCE))

    assert "Whoever" in text
    assert "nobody" in text
    assert "somebody" not in text
    assert "told" not in text


def test_comments_are_the_prose_of_the_contract_and_of_sql() -> None:
    lines = list(comment_prose("a.proto", "// Nobody.\nstring told = 1;  // Said.", "//"))

    assert lines == [Line("a.proto:1", " Nobody."), Line("a.proto:2", " Said.")]


@pytest.mark.parametrize(
    "word",
    ["whoever", "Somebody", "nobody", "everyone", "anybody", "no one", "tells", "told", "say"],
)
def test_a_word_is_found(word: str) -> None:
    assert any(rule.words.search(f"then {word} came") for rule in RULES)


@pytest.mark.parametrize("word", ["who", "essay", "stellar", "noon", "everywhere"])
def test_another_word_is_not(word: str) -> None:
    assert not any(rule.words.search(f"then {word} came") for rule in RULES)


def test_a_room_may_have_as_many_words_as_the_rule_allows_and_no_more() -> None:
    filling = [Line("page.md:1", "word " * 998)]

    assert broken_rules("room", [*filling, Line("page.md:2", "he told.")]) == []
    problem, *places = broken_rules("room", [*filling, Line("page.md:2", "told, said")])
    assert problem == "room: 2.00 tell/say words in 1,000 words, more than 1.0"
    assert places == ["page.md:2: told", "page.md:2: said"]


def test_a_long_line_is_found_unless_it_is_code_a_table_or_a_link() -> None:
    long = "word " * 30
    page = f"{long}\n| {long} |\n[{long}](page.md)\n```\n{long}\n```\nshort\n"

    assert long_lines("page.md", page) == ["page.md:1: 150 characters, more than 120"]
